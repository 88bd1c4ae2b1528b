#!/bin/sh
# Make the keys and secrets of a new project, in profiles/access: the nodes' ssh key, and what its k3s cluster hangs by.
# What is there stays. Run in the project's folder, after set-up has made .venv.
set -eu
umask 077
folder=profiles/access

is_there() {
    [ -e "$folder/$1" ] || [ -L "$folder/$1" ]
}

# A file appears when it is complete, and replaces none: ln fails where the name is taken.
make_secret() {
    ! is_there "$1" || return 0
    fresh=$(mktemp "$folder/.$1.XXXXXXXX")
    od -An -N24 -v -tx1 /dev/urandom | tr -d ' \n' >"$fresh"
    ln -T "$fresh" "$folder/$1"
    rm -f "$fresh"
    echo "setup: made $2, $folder/$1" >&2
}

make_authorities() {
    ! is_there k3s-ca || return 0
    .venv/bin/pimu-build k3s-ca --to $folder/k3s-ca >/dev/null
    echo "setup: made the certificate authorities of the k3s cluster, $folder/k3s-ca" >&2
}

[ -d $folder ] || mkdir -m 755 $folder
if ! is_there id_ed25519; then
    (umask 022 && ssh-keygen -q -t ed25519 -N '' -C pimu -f $folder/id_ed25519)
    echo "setup: made the ssh key of the nodes, $folder/id_ed25519" >&2
fi

# With a token that is there, a cluster may run, which has its own authorities and knows its nodes by their passwords:
# new ones would lock its nodes out. The tokens come last, so that a run that was cut off is not taken for that.
if is_there k3s-token || is_there k3s-agent-token; then
    for name in node-passwords k3s-ca; do
        if ! is_there $name && grep -qs "$folder/$name" profiles/cluster.yaml; then
            echo "setup: there are tokens already, so $folder/$name was not made: see README.md, \"Older projects\"" >&2
        fi
    done
else
    make_secret node-passwords "the secret from which the nodes' passwords follow"
    make_authorities
fi
make_secret k3s-token "a token of the k3s cluster"
make_secret k3s-agent-token "a token of the k3s cluster"
