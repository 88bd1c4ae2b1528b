# Reads the kernel's log.
# says: Operation not permitted
import ctypes
from attack import call

buffer = ctypes.create_string_buffer(64)
call("syslog", 3, ctypes.addressof(buffer), 64)
