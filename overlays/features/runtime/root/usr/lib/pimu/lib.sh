# shellcheck shell=sh
# Settings, the report, and small tools for the scripts beside this file. Sourced, never run.

. /etc/pimu/settings.conf
. /etc/pimu/node.conf

REPORTS=/var/lib/pimu/report

# begin STEP: from here on a script that dies is a failed step in the report; the reason is in the journal.
begin() {
    STEP=$1
    trap 'status=$?; [ "$status" -eq 0 ] || report "$STEP" failed exit="$status"' EXIT
}

# report STEP STATUS KEY=VALUE...: say how STEP stands, in the journal and in the report on the boot volume.
# STATUS: ok (nothing to do), changed, skipped, degraded (less than asked), failed; of the guest: running, paused, failed.
# Never fails: a boot volume that cannot be written must not stop the step that only wanted to say so.
report() {
    echo "$*"
    write_report "$@" || echo "$1 could not be reported" >&2
}

# reported STEP STATUS: has STEP said this already in this boot? Spares the SSD a write.
reported() {
    grep -qsF "\"status\": \"$2\", \"boot\": \"$(boot_id)\"" "$REPORTS/$1.json"
}

# One file per step, so that steps before the boot volume is mounted are not lost; later ones put them together.
write_report() (
    step=$1 status=$2
    shift 2
    mkdir -p "$REPORTS" || exit
    json_object status="$status" boot="$(boot_id)" uptime="$(cut -d ' ' -f 1 /proc/uptime)" "$@" |
        publish "$REPORTS/$step.json" || exit
    ! mountpoint -q "$PIMU_BOOT_MOUNT" || compose_report
)

compose_report() (
    flock 9
    {
        printf '{"node": %s, "steps": {' "$(json_string "$PIMU_NODE")"
        separator=
        for fragment in "$REPORTS"/*.json; do
            step=${fragment##*/}
            printf '%s\n  %s: %s' "$separator" "$(json_string "${step%.json}")" "$(cat "$fragment")"
            separator=,
        done
        printf '\n}}\n'
    } | publish "$PIMU_BOOT_MOUNT/pimu-report.json"
) 9>"$REPORTS/lock"

json_object() (
    separator='{'
    for pair in "$@"; do
        printf '%s%s: %s' "$separator" "$(json_string "${pair%%=*}")" "$(json_string "${pair#*=}")"
        separator=', '
    done
    printf '}\n'
)

# What is not printable ASCII becomes "?", so that no value can make the report invalid.
json_string() {
    printf '"'
    printf '%s' "$1" | LC_ALL=C tr -c '\n\t -~' '?' | LC_ALL=C sed -z 's/[\\"]/\\&/g; s/\n/\\n/g; s/\t/\\t/g'
    printf '"'
}

# publish FILE: standard input becomes FILE. After a power cut there is the old FILE or the new one, complete.
publish() {
    cat >"$1.new" && durable_rename "$1.new" "$1"
}

# durable_rename NEW FILE: the content reaches the disk before its name does.
durable_rename() {
    sync "$1" && mv -f "$1" "$2" && sync "$(dirname "$2")"
}

boot_id() {
    cat /proc/sys/kernel/random/boot_id
}

uptime_seconds() {
    cut -d . -f 1 /proc/uptime
}

# disk_bytes size|avail PATH: bytes of PATH's filesystem, as df(1) has them.
disk_bytes() {
    df --block-size=1 --output="$1" "$2" | tail -n 1 | tr -d ' '
}

# memory_mib FIELD: a field of /proc/meminfo in MiB.
memory_mib() {
    echo $(($(sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo) / 1024))
}
