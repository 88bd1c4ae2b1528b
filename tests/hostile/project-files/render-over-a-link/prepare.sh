echo mine >"$OUTSIDE/precious"
mkdir there
ln -s "$OUTSIDE/precious" there/user-data
