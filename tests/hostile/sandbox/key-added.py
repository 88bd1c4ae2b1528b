# Adds a key to the session's keyring.
# says: Operation not permitted
from attack import call

call("add_key", b"user", b"pimu-hostile", b"x", 1, -3)
