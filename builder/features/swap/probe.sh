# shellcheck shell=sh
fact swaps contents /proc/swaps
fact swap-kernel sh -c 'dmesg | grep -F " swap on "'
fact swapfile stat --format='%i %s %a' /swapfile
