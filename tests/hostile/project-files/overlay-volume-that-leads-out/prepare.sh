mv overlays/roles/worker/root "$OUTSIDE"
ln -s "$OUTSIDE/root" overlays/roles/worker/root
