echo mine >"$OUTSIDE/precious"
mkdir output
ln -s "$OUTSIDE/precious" output/.node-003.lock
