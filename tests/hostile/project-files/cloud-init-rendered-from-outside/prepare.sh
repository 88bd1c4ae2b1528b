mv cloud-init "$OUTSIDE"
ln -s "$OUTSIDE/cloud-init" cloud-init
