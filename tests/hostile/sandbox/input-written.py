# Writes into the cache: into the very package that is configured.
# says: Read-only file system|Permission denied
from attack import TARGETS

with open(TARGETS["deb"], "r+b") as file:
    file.write(file.read(1))
