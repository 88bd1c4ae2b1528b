sed -i 's|node_passwords: .*|node_passwords: file:profiles/access/k3s-agent-token|' profiles/cluster.yaml
