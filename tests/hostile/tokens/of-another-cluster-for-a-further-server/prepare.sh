echo 'k3s: {datastore: etcd}' >profiles/nodes/node-002.yaml
echo "K10$(printf '%064d')::server:0123456789abcdef" >profiles/access/k3s-token
