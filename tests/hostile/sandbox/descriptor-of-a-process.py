# Takes an open file from a process.
# says: Operation not permitted
import os
from attack import call

call("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)
