echo "root:\$6\$canary:1::::::" >"$OUTSIDE/shadow"
ln -sf "$OUTSIDE/shadow" profiles/roles/worker.yaml
