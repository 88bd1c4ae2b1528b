echo mine >"$OUTSIDE/precious"
ln -s "$OUTSIDE/precious" pimu.lock
