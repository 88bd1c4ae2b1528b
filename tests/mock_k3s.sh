#!/bin/sh
# Stands for the k3s program: an agent that asks its server what k3s's asks, or a server that keeps what it was started
# with; idle then.
set -eu
if [ "$1" = server ]; then
    mkdir -p /var/lib/rancher/k3s/server
    echo "$*" >>/var/lib/rancher/k3s/server/started
    exec systemd-notify --ready --exec ';' sleep infinity
fi
config=/etc/rancher/k3s/config.yaml
state=/var/lib/rancher/k3s/agent

value() {
    sed -n "s/^$1: \"*\([^\"]*\)\"*\$/\1/p" $config
}

server=$(value server) name=$(value node-name) token=$(cat "$(value token-file)")
labels=$(sed -n 's/^node-label: //p' $config) taints=$(sed -n 's/^node-taint: //p' $config)

# Taken apart as in pkg/clientaccess/token.go: K10HASH::USER:PASSWORD, or ID.SECRET at the end; an agent's user is node.
wanted=
case $token in
K10*::*)
    wanted=${token#K10} wanted=${wanted%%::*} token=${token#*::}
    echo "$token" | grep -Eqx '[a-z0-9]{6}[.][a-z0-9]{16}' || token=${token#*:}
    ;;
esac

# A lone certificate by the bytes of its file, else the root, which comes last, by its DER (pkg/clientaccess, hashCA).
hash_of() {
    if [ "$(grep -c BEGIN "$1")" -eq 1 ]; then
        sha256sum <"$1"
    else
        awk '/BEGIN/ { body = ""; next } /END/ { next } { body = body $0 } END { print body }' "$1" | base64 -d | sha256sum
    fi | cut -c 1-64
}

ask() {
    if echo "$token" | grep -Eqx '[a-z0-9]{6}[.][a-z0-9]{16}'; then
        set -- --header "Authorization: Bearer $token" "$@"
    else
        set -- --user "node:$token" "$@"
    fi
    curl --fail --silent --show-error --max-time 120 --cacert $state/server-ca.crt \
        --header "k3s-Node-Name: $name" --header "k3s-Node-Password: $(cat /etc/rancher/node/password)" "$@"
}

join() {
    curl --fail --silent --show-error --max-time 120 --insecure --output $state/server-ca.crt "$server/cacerts" || return
    if [ -n "$wanted" ] && [ "$(hash_of $state/server-ca.crt)" != "$wanted" ]; then
        echo "token CA hash does not match the Cluster CA certificate hash" | tee -a /dev/console
        return 1
    fi
    ask --output $state/serving-kubelet.crt "$server/v1-k3s/serving-kubelet.crt" || return
    ask --output /dev/null "$server/api/v1/nodes/$name" 2>/dev/null ||
        ask --output /dev/null "$server/api/v1/nodes" \
            --data "{\"name\": \"$name\", \"labels\": $labels, \"taints\": $taints, \"argv\": \"$*\", \"umask\": \"$(umask)\"}"
}

# An agent that is refused does not end, it asks again (pkg/agent/run.go, createProxyAndValidateToken).
mkdir -p $state /etc/rancher/node
# One of its own making, where there is none (pkg/agent/config, ensureNodePassword).
[ -s /etc/rancher/node/password ] || od -An -N16 -v -tx1 /dev/urandom | tr -d ' \n' >/etc/rancher/node/password
until join "$@"; do sleep 1; done
echo "k3s $*: $name is a node of $server" >>/dev/console
sleep 1000000
