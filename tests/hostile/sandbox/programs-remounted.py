# Makes the host's /usr writable.
# says: Operation not permitted
# control: no, there is no mount
from attack import call

call("mount", b"none", b"/usr", 0, 0x20 | 0x1000, 0)
