echo "K10$(printf '%064d')::node:" >profiles/access/k3s-agent-token
