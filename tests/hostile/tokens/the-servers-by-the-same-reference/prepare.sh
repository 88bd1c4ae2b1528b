sed -i 's|agent_token: .*|agent_token: file:profiles/access/k3s-token|' profiles/cluster.yaml
