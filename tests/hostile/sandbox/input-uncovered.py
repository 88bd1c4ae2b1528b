# Unmounts the package, to reach the folder around it.
# says: Invalid argument
# control: no, there is no mount
from attack import TARGETS, call

call("umount2", TARGETS["deb"].encode(), 2)
