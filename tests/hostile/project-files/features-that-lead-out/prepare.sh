mv overlays/features "$OUTSIDE"
ln -s "$OUTSIDE/features" overlays/features
