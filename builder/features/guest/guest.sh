#!/bin/sh
# For at most a minute, wait for the guest to have booted, to have been heard on br0, and to answer by ssh. Then say how
# far it is, in the form of probe.sh. One ssh login a minute: each costs the emulated Pi seconds that the guest could use.
# The harness puts GUEST_MAC= and GUEST_ADDRESS= (link-local, which needs no DHCP) in front. Run as root.
set -u
: "${GUEST_MAC:?}" "${GUEST_ADDRESS:?}"
log=/var/log/pimu/guest-serial.log
heard=
banner=

# The first line of an ssh server.
greeting() {
    # shellcheck disable=SC2016  # bash is to expand it
    timeout 20 bash -c 'exec 3<>"/dev/tcp/$0/22" && read -r line <&3 && echo "$line"' "$GUEST_ADDRESS%br0" 2>/dev/null
}

# privileges PID: its rights beyond those of its user, in one line.
privileges() {
    sed -n 's/^\(Cap...\|NoNewPrivs\|Seccomp\):[[:space:]]*0*\([0-9a-f]\)/\1 \2/p' "/proc/$1/status" | paste -s -d , | sed 's/,/, /g'
}

for _ in 1 2 3 4 5 6; do
    port=$(bridge fdb show br br0 | grep -v permanent | sed -n "s/^$GUEST_MAC dev \([^ ]*\).*/\1/p")
    [ -z "$port" ] || heard=$port
    [ -n "$heard" ] && grep -qs 'login:' "$log" && banner=$(greeting) && break
    sleep 10
done

pid=$(systemctl show --property=MainPID --value pimu-guest.service)
printf '@@ unit\n%s\n' "$(systemctl is-active pimu-guest.service)"
printf '@@ restarts\n%s\n' "$(systemctl show --property=NRestarts --value pimu-guest.service)"
printf '@@ process\n%s\n' "$(readlink "/proc/$pid/exe") $(stat --format=%U "/proc/$pid")"
printf '@@ privileges\n%s\n' "$(privileges "$pid")"
printf '@@ heard-on\n%s\n' "$heard"
printf '@@ ssh\n%s\n' "$banner"
printf '@@ log\n%s\n' "$(cat "$log")"
echo '@@ end'
