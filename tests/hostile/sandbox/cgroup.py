# Leaves the control group of the build.
# says: denied|not permitted|not found
import glob, os, sys
from attack import call

os.makedirs("/tmp/cgroup", exist_ok=True)
call("mount", b"x", b"/tmp/cgroup", b"cgroup2", 0, 0)
try:
    with open("/tmp/cgroup/cgroup.procs", "w") as file:
        file.write("0")
finally:
    call("umount2", b"/tmp/cgroup", 2)
