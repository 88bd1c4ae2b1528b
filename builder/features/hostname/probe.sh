# shellcheck shell=sh
fact hostname hostname
