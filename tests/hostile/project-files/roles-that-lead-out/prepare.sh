mv profiles/roles "$OUTSIDE"
ln -s "$OUTSIDE/roles" profiles/roles
