rm profiles/access/k3s-agent-token
mkfifo -m 600 profiles/access/k3s-agent-token
