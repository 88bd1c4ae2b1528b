# shellcheck shell=sh
block_count() {
    dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Block \(count\|size\): *//p' | paste -s -d ' '
}

fact disk-sectors cat "$DISK/size"
fact root-start cat "$ROOT/start"
fact root-sectors cat "$ROOT/size"
fact root-blocks block_count "/dev/${ROOT##*/}"
