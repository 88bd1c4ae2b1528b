mv profiles/cluster.yaml "$OUTSIDE"
ln -s "$OUTSIDE/cluster.yaml" profiles/cluster.yaml
