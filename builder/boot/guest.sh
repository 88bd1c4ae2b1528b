#!/bin/sh
# For at most a minute, wait for the guest to have booted and to have been heard on br0. Then say how far it is, in the
# form of probe.sh. One ssh login a minute: each costs the emulated Pi seconds that the guest could use.
# The harness puts GUEST_MAC= in front. Run as root.
set -u
: "${GUEST_MAC:?}"
log=/var/log/pimu/guest-serial.log
heard=

for _ in 1 2 3 4 5 6; do
    port=$(bridge fdb show br br0 | grep -v permanent | sed -n "s/^$GUEST_MAC dev \([^ ]*\).*/\1/p")
    [ -z "$port" ] || heard=$port
    [ -n "$heard" ] && grep -qs 'login:' "$log" && break
    sleep 10
done

pid=$(systemctl show --property=MainPID --value pimu-guest.service)
printf '@@ unit\n%s\n' "$(systemctl is-active pimu-guest.service)"
printf '@@ process\n%s\n' "$(readlink "/proc/$pid/exe") $(stat --format=%U "/proc/$pid")"
printf '@@ heard-on\n%s\n' "$heard"
printf '@@ log\n%s\n' "$(cat "$log")"
echo '@@ end'
