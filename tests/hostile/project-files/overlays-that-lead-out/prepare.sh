mv overlays "$OUTSIDE"
ln -s "$OUTSIDE/overlays" overlays
