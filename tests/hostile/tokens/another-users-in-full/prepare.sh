echo "K10$(printf '%064d')::admin:0123456789abcdef" >profiles/access/k3s-agent-token
