# Writes an attribute of overlayfs that only root of the host may write.
# says: Operation not permitted
import os

open("/tmp/attributed", "w").close()
os.setxattr("/tmp/attributed", "trusted.overlay.opaque", b"y")
