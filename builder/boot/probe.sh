#!/bin/sh
# Say what a booted Pi is like: for each fact a line `@@ NAME`, then the fact's lines. Changes nothing. Run as root.
# A fact ends with a newline of ours: a log that is being written may end in the middle of a line.
# The harness puts BOOT_MOUNT= and PACKAGES=yes|no in front, and behind it the probe.sh of each feature.
set -u
export LC_ALL=C TZ=UTC
: "${BOOT_MOUNT:?}" "${PACKAGES:?}"

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

# The root partition and its disk in /sys.
ROOT=$(readlink -f "/sys/dev/block/$(mountpoint -d /)")
DISK=${ROOT%/*}
export ROOT DISK

fact system systemctl is-system-running --wait
fact failed systemctl list-units --state=failed --plain --no-legend --no-pager
fact multi-user unit multi-user.target ActiveEnterTimestampMonotonic
fact booted sh -c "sed -n 's/^btime //p' /proc/stat"
if [ "$PACKAGES" = yes ]; then
    fact dpkg-audit dpkg --audit
    fact dpkg-verify dpkg --verify
fi
