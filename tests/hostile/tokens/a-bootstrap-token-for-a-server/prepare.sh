echo abcdef.0123456789abcdef >profiles/access/k3s-token
