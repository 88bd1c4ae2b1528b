truncate -s 8G profiles/access/k3s-agent-token
