mv profiles "$OUTSIDE"
ln -s "$OUTSIDE/profiles" profiles
