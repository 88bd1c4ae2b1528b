# shellcheck shell=sh
fact table sfdisk --dump "/dev/${DISK##*/}"
