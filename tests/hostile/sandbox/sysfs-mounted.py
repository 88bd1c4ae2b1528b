# Mounts a /sys of its own.
# says: Operation not permitted
import os
from attack import call

os.makedirs("/tmp/sysfs", exist_ok=True)
call("mount", b"sysfs", b"/tmp/sysfs", b"sysfs", 0, 0)
call("umount2", b"/tmp/sysfs", 2)
