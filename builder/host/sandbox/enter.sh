#!/bin/sh
# Run a command in a new user namespace.
#   enter.sh FIRST COUNT COMMAND...   ids 0 to COUNT - 1 in there are FIRST to FIRST + COUNT - 1 here
# It runs as root of the namespace around it, in a mount namespace of its own that holds nothing but the sandbox's folder.
# The caller's own id must not be among the ids: root in there then owns none of the files that are bound into it.
set -eu
first=$1 count=$2
shift 2

# A namespace may mount proc only where it sees another one whole (Linux, fs/namespace.c, mount_too_revealing), and bwrap
# covers parts of root's.
mount -t proc proc /proc
# The keys of the builder's session would be possessed in there too. Where the kernel refuses (Docker's seccomp), the
# sandbox's own filter still keeps every program from them.
keyctl new_session >/dev/null 2>&1 || true

unshare --user sleep 60 &
holder=$!
until [ "$(readlink "/proc/$holder/ns/user")" != "$(readlink "/proc/$$/ns/user")" ]; do
    if ! kill -0 "$holder" 2>/dev/null; then wait "$holder"; fi
    sleep 0.005
done
for map in uid_map gid_map; do echo "0 $first $count" >"/proc/$holder/$map"; done
# The descriptor keeps the namespace, so the process that was born into it can go: it sees more than the sandbox.
exec 8<"/proc/$holder/ns/user" 9</filter
kill -KILL "$holder"
# shellcheck disable=SC2016  # the inner shell expands it
exec nsenter --user=/proc/self/fd/8 -- sh -c 'exec "$@" 8<&-' sh "$@"
