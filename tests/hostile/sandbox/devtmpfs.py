# Mounts the host's devices.
# says: Operation not permitted
import os
from attack import call

os.makedirs("/tmp/devices", exist_ok=True)
call("mount", b"dev", b"/tmp/devices", b"devtmpfs", 0, 0)
call("umount2", b"/tmp/devices", 2)
