# Sees the processes of the host.
# says: not found
import sys
from attack import TARGETS, processes

for process in processes():
    try:
        if TARGETS["process_name"].encode() in (process / "cmdline").read_bytes():
            sys.exit(print("found"))
    except OSError:
        pass
sys.exit("not found")
