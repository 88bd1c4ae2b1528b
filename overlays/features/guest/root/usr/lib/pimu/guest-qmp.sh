# shellcheck shell=sh
# The guest's QMP sockets. Sourced, never run.

# qmp SOCKET COMMAND: run COMMAND and print QEMU's replies.
# The pause keeps the connection: QEMU drops what is still in its queue when the client hangs up.
qmp() {
    {
        printf '{"execute": "qmp_capabilities"}\n{"execute": "%s"}\n' "$2"
        sleep 1
    } | socat -t 1 - "UNIX-CONNECT:/run/pimu-guest/$1"
}
