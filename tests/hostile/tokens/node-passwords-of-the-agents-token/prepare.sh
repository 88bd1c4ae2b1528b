sed -i 's/.*/0123456789abcdef0123456789abcdef/' profiles/access/k3s-agent-token
cp profiles/access/k3s-agent-token profiles/access/node-passwords
