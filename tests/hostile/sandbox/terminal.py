# Types into the terminal of the person who builds.
# says: not permitted|No such device
# control: no, a test has no terminal
import fcntl

fcntl.ioctl(0, 0x5412, b"x")
