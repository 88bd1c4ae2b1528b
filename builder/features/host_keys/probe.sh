# shellcheck shell=sh
fact host-keys sh -c 'sha256sum /etc/ssh/ssh_host_*_key'
