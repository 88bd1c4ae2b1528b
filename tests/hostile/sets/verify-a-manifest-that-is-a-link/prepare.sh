echo of this machine >"$OUTSIDE/secret"
ln -s "$OUTSIDE/secret" node-003.manifest.json
