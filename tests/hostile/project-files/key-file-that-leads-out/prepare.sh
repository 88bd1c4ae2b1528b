mv profiles/access/id_ed25519.pub "$OUTSIDE/key"
ln -s "$OUTSIDE/key" profiles/access/id_ed25519.pub
