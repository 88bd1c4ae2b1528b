#!/bin/sh
# In network, mount and pid namespaces of its own: eth0 with a router behind it that serves DHCP, and the network manager
# whose files lie in FILES/etc. At the end, say what the manager has made of them, in sections.
#   network_room.sh FILES PATIENCE    PATIENCE: the most that is waited for one thing, in tenths of a second
set -eu
files=$1 patience=$2

mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/dbus
for folder in /var/lib/dhcpcd /var/lib/NetworkManager /etc/NetworkManager /etc/systemd/network; do
    mount -t tmpfs tmpfs "$folder"
done
cp -rp "$files/etc/." /run/etc
for folder in NetworkManager systemd/network; do
    [ ! -e "/run/etc/$folder" ] || cp -rp "/run/etc/$folder/." "/etc/$folder"
done
mount -t sysfs -o ro sysfs /sys # where it is writable, both managers wait for udev
ip link set lo up
ip link add eth0 type veth peer name veth-router
ip address add 192.168.1.1/24 dev veth-router
ip address add 192.168.1.2/31 dev veth-router
ip link set veth-router up
dnsmasq --interface=veth-router --except-interface=lo --bind-interfaces --port=0 --user=root --pid-file= \
    --dhcp-range=192.168.1.50,192.168.1.60 --dhcp-leasefile=/run/leases >/dev/null 2>&1

eventually() {
    for _ in $(seq "$patience"); do
        ! "$@" || return 0
        sleep 0.1
    done
    return 1
}

manager() {
    if [ -e /run/etc/NetworkManager ]; then
        NetworkManager --debug >>/run/said 2>&1 &
    else
        SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd-networkd >>/run/said 2>&1 &
    fi
    manager=$!
}
addressed() { ip -4 -o address show dev br0 2>/dev/null | grep -q 'inet .*scope global'; }
plugged() { [ -e "/sys/class/net/br0/brif/$1" ]; }
# ready TIMES: what a manager says when it has set up what is there, TIMES times.
ready() { [ "$(grep -c 'Enumeration completed\|manager: startup complete' /run/said)" = "$1" ]; }

if [ -e /run/etc/NetworkManager ]; then
    dbus-daemon --system --fork --nopidfile >/dev/null 2>&1
fi
manager
eventually plugged eth0 || true
if [ -e /run/etc/dhcpcd.conf ]; then
    printf '#!/bin/sh\nprintenv >>/run/dhcpcd-says\n' >/run/hook
    chmod +x /run/hook
    dhcpcd --config /run/etc/dhcpcd.conf --nobackground --nodev --noarp --script /run/hook >>/run/said 2>&1 &
fi
eventually addressed || true
eventually ready 1 || true

# The guest's tap, made as guest-tap makes it. The manager is restarted, as an update does it.
ip tuntap add dev tap-guest mode tap
ip link set dev tap-guest master br0 up || true # without br0, that is seen below
kill "$manager"
wait "$manager" || true
manager
eventually ready 2 || true

set +e # what is not there is seen in the sections
says() { printf '\n[%s]\n' "$1"; }
says address
ip -4 -o address show dev br0 scope global | tr -s ' ' | cut -d ' ' -f 4
says route
ip route show default | cut -d ' ' -f 1-5
says ports
ls /sys/class/net/br0/brif
says mac
cat /sys/class/net/br0/address
says tap
ip -o address show dev tap-guest scope global
says dns
cat /run/systemd/netif/links/* 2>/dev/null | sed -n 's/^DNS=//p'
sed -n 's/^new_domain_name_servers=//p' /run/dhcpcd-says 2>/dev/null | sort -u
[ ! -e /run/etc/NetworkManager ] || nmcli --get-values IP4.DNS device show br0 | tr -d '|'
says said
cat /run/said
