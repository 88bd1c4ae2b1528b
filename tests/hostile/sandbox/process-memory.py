# Reads the memory of a process.
# says: Operation not permitted
import os
from attack import call

call("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0)
