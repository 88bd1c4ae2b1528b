mv profiles/access/k3s-agent-token "$OUTSIDE/token"
ln -s "$OUTSIDE/token" profiles/access/k3s-agent-token
