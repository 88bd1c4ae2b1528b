mkdir output
ln -s "$OUTSIDE/new" output/.node-003.lock
