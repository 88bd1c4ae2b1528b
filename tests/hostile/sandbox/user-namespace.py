# Makes a user namespace, where all of the kernel's doors for its root are open.
# says: Operation not permitted
# control: no, it would leave this one
from attack import call

call("unshare", 0x10000000)
