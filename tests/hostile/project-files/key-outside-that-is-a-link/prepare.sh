cp profiles/access/id_ed25519.pub "$OUTSIDE/key"
ln -s key "$OUTSIDE/link"
sed -i "s#file:profiles/access/id_ed25519.pub#file:~/link#" profiles/cluster.yaml
