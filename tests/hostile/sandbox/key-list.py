# Lists the keys that the host's kernel holds for the builder.
# says: not found
import sys

sys.exit(print("found") if "pimu-test-key" in open("/proc/keys").read() else "not found")
