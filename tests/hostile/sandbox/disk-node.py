# Makes a node of the host's disk.
# says: Operation not permitted
import os
from attack import TARGETS
os.mknod("/tmp/pimu-disk", 0o060600, TARGETS["disk"])
os.unlink("/tmp/pimu-disk")
