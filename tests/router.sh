#!/bin/sh
# A router of one wire, in a network namespace of its own: router.sh CONF FOLDER NAME MAC...
# A machine with each MAC asks for a lease in turn; the leases, then what the router says of NAME, are printed.
set -eu
conf=$1 folder=$2 name=$3
shift 3

ip link set lo up
ip link add router type veth peer name machine
ip address add 192.168.1.1/24 dev router
ip link set router up
dnsmasq --conf-file="$conf" --interface=router --bind-interfaces --dhcp-range=192.168.1.100,192.168.1.200 \
    --dhcp-authoritative --no-ping --no-resolv --no-hosts --domain=lan --user=root --pid-file= \
    --dhcp-leasefile="$folder/leases" --log-facility="$folder/log"
for mac in "$@"; do
    ip link set machine down
    ip link set machine address "$mac"
    ip link set machine up
    busybox udhcpc -i machine -n -q -f -t 20 -T 1 -s /bin/true 2>>"$folder/log" >&2
done
cut -d ' ' -f 2-4 "$folder/leases"
busybox nslookup "$name" 192.168.1.1 | awk '/^Name:/ { found = 1 } found && /^Address/ { print $NF; exit }'
