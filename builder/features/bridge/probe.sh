# shellcheck shell=sh
fact bridge-mac contents /sys/class/net/br0/address
fact bridge-state contents /sys/class/net/br0/operstate
fact bridge-stp contents /sys/class/net/br0/bridge/stp_state
fact bridge-address sh -c "ip -4 -o address show dev br0 | tr -s ' ' | cut -d ' ' -f 4"
fact bridge-ports ls /sys/class/net/br0/brif
fact interfaces ls /sys/class/net
