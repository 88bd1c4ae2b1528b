head -c 1000000 /dev/zero | tr '\0' x >profiles/access/k3s-agent-token
