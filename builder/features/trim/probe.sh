# shellcheck shell=sh
# A timer has no next time while its service runs.
next_trim() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(unit fstrim.timer NextElapseUSecRealtime)" ] && break
        sleep 3
    done
    seconds fstrim.timer NextElapseUSecRealtime
}

fact trim-next next_trim
fact now date +%s
