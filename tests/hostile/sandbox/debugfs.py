# Mounts the kernel's debugging files.
# says: Operation not permitted
# control: no, not every kernel has it
import os
from attack import call

os.makedirs("/tmp/debugfs", exist_ok=True)
call("mount", b"x", b"/tmp/debugfs", b"debugfs", 0, 0)
