# Reads the names of the host's people.
# says: not found
import sys
from attack import TARGETS, everywhere

if TARGETS["person"].encode() not in everywhere("/etc/passwd"):
    sys.exit("not found")
