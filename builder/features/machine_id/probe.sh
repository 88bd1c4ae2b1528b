# shellcheck shell=sh
fact machine-id contents /etc/machine-id
