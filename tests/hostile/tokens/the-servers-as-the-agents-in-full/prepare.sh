echo "K10::node:$(cat profiles/access/k3s-token)" >profiles/access/k3s-agent-token
