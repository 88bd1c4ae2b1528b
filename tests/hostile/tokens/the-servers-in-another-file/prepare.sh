cp profiles/access/k3s-token profiles/access/k3s-agent-token
