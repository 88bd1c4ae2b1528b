# Makes the package in the cache writable by a remount.
# says: Operation not permitted
# control: no, there is no mount
from attack import TARGETS, call

remount_bind = 0x20 | 0x1000
call("mount", b"none", TARGETS["deb"].encode(), 0, remount_bind, 0)
