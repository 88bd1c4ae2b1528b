# Reads the environment of every process: the builder's holds the password of its proxy.
# says: not found
import sys
from attack import TARGETS, processes

for process in processes():
    try:
        if TARGETS["password"].encode() in (process / "environ").read_bytes():
            sys.exit(print("found"))
    except OSError:
        pass
sys.exit("not found")
