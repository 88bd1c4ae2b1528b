# shellcheck shell=sh
fact guest-disk stat --format='%i %U %a' /var/lib/pimu/guest/disk.qcow2
fact guest-disk-written stat --format='%Y' /var/lib/pimu/guest/disk.qcow2
fact guest-log contents /var/log/pimu/guest-serial.log
