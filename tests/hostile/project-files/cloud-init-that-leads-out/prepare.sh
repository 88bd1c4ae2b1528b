mv cloud-init "$OUTSIDE"
echo token >"$OUTSIDE/cloud-init/id_rsa"
ln -s "$OUTSIDE/cloud-init" cloud-init
