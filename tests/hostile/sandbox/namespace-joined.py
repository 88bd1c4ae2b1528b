# Joins a namespace of another process.
# says: Operation not permitted
import os
from attack import call

call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
