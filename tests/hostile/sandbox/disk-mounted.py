# Mounts the file system of a disk, which the kernel would parse.
# says: not permitted|No such|denied
# control: no, it needs a disk
import os
from attack import call

os.makedirs("/tmp/disk", exist_ok=True)
for device in (b"/dev/vda", b"/dev/sda", b"/dev/loop0", b"/dev/zero"):
    try:
        call("mount", device, b"/tmp/disk", b"ext4", 0, 0)
    except OSError as error:
        last = error
    else:
        break
else:
    raise last
