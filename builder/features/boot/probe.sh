# shellcheck shell=sh
fact kernel-words contents /proc/cmdline
