# shellcheck shell=sh
fact watchdog systemctl show --property=RuntimeWatchdogUSec --value
