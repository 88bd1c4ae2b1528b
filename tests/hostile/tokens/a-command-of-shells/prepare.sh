echo '0123456789`id`abcdef' >profiles/access/k3s-agent-token
