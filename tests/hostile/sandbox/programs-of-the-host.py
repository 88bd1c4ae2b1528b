# Writes into the host's /usr.
# says: Read-only file system
import os

os.mkdir("/usr/lib/pimu-hostile")
os.rmdir("/usr/lib/pimu-hostile")
