echo token >"$OUTSIDE/id_rsa"
ln -s "$OUTSIDE/id_rsa" cloud-init/id_rsa
