cp profiles/access/k3s-token $OUTSIDE/mine
sed -i "s|agent_token: .*|agent_token: file:$OUTSIDE/mine|" profiles/cluster.yaml
