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

user=node wanted=
case $token in
K10*::*:*)
    wanted=${token#K10} wanted=${wanted%%::*}
    user=${token#*::} user=${user%%:*}
    token=${token##*:}
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
    curl --fail --silent --show-error --max-time 120 --cacert $state/server-ca.crt --user "$user:$token" \
        --header "k3s-Node-Name: $name" --header "k3s-Node-Password: $(cat /etc/rancher/node/password)" "$@"
}

mkdir -p $state
curl --fail --silent --show-error --max-time 120 --insecure --output $state/server-ca.crt "$server/cacerts"
if [ -n "$wanted" ] && [ "$(hash_of $state/server-ca.crt)" != "$wanted" ]; then
    echo "token CA hash does not match the Cluster CA certificate hash" | tee -a /dev/console
    exit 1
fi
ask --output $state/serving-kubelet.crt "$server/v1-k3s/serving-kubelet.crt"
ask --output /dev/null "$server/api/v1/nodes/$name" 2>/dev/null ||
    ask --output /dev/null "$server/api/v1/nodes" \
        --data "{\"name\": \"$name\", \"labels\": $labels, \"taints\": $taints, \"argv\": \"$*\", \"umask\": \"$(umask)\"}"
echo "k3s $*: $name is a node of $server" >>/dev/console
sleep 1000000
