# shellcheck shell=sh
fact report contents "$BOOT_MOUNT/pimu-report.json"
