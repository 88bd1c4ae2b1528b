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

# guest_status SOCKET: running, io-error (paused by a full disk: see werror in guest-run), ...; nothing when QEMU is gone.
guest_status() {
    qmp "$1" query-status 2>/dev/null | sed -n 's/.*"status": "\([^"]*\)".*/\1/p'
}
