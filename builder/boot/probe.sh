#!/bin/sh
# Say what a booted Pi is like: for each fact a line `@@ NAME`, then the fact's lines. Changes nothing. Run as root.
# A fact ends with a newline of ours: a log that is being written may end in the middle of a line.
# The harness puts BOOT_MOUNT=, PORT= and PACKAGES=yes|no in front.
set -u
export LC_ALL=C TZ=UTC
: "${BOOT_MOUNT:?}" "${PORT:?}" "${PACKAGES:?}"

fact() {
    printf '@@ %s\n' "$1"
    shift
    "$@" 2>&1
    echo
}

contents() {
    cat "$@" 2>/dev/null
}

unit() {
    systemctl show --property="$2" --value "$1"
}

# seconds UNIT PROPERTY: a timestamp of systemd's in seconds since 1970.
seconds() {
    date --date="$(unit "$1" "$2")" +%s
}

# A timer has no next time while its service runs.
next_trim() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(unit fstrim.timer NextElapseUSecRealtime)" ] && break
        sleep 3
    done
    seconds fstrim.timer NextElapseUSecRealtime
}

block_count() {
    dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block \(count\|size\): *//p' | paste -s -d ' '
}

root=$(readlink -f "/sys/dev/block/$(mountpoint -d /)")
disk=${root%/*}

fact system systemctl is-system-running --wait
fact failed systemctl list-units --state=failed --plain --no-legend --no-pager
fact multi-user unit multi-user.target ActiveEnterTimestampMonotonic
fact hostname hostname
fact disk-sectors cat "$disk/size"
fact root-start cat "$root/start"
fact root-sectors cat "$root/size"
fact root-blocks block_count "/dev/${root##*/}"
fact table sfdisk --dump "/dev/${disk##*/}"
fact swaps contents /proc/swaps
fact swap-kernel sh -c 'dmesg | grep -F " swap on "'
fact swapfile stat --format='%i %s %a' /swapfile
fact trim-next next_trim
fact now date +%s
fact bridge-mac contents /sys/class/net/br0/address
fact bridge-state contents /sys/class/net/br0/operstate
fact bridge-stp contents /sys/class/net/br0/bridge/stp_state
fact bridge-address sh -c "ip -4 -o address show dev br0 | tr -s ' ' | cut -d ' ' -f 4"
fact bridge-ports ls /sys/class/net/br0/brif
fact interfaces ls /sys/class/net
fact port-mac contents "/sys/class/net/$PORT/address"
fact host-keys sh -c 'sha256sum /etc/ssh/ssh_host_*_key'
fact machine-id contents /etc/machine-id
fact booted sh -c "sed -n 's/^btime //p' /proc/stat"
fact guest-disk stat --format='%i %U %a' /var/lib/pimu/guest/disk.qcow2
fact guest-disk-written stat --format='%Y' /var/lib/pimu/guest/disk.qcow2
fact guest-log contents /var/log/pimu/guest-serial.log
fact report contents "$BOOT_MOUNT/pimu-report.json"
if [ "$PACKAGES" = yes ]; then
    fact dpkg-audit dpkg --audit
    fact dpkg-verify dpkg --verify
fi
fact end true
