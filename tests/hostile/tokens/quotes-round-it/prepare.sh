echo '"0123456789abcdef0123"' >profiles/access/k3s-agent-token
