# Reads a key in the keyring of the session that builds.
# says: Operation not permitted
import ctypes
from attack import TARGETS, call

buffer = ctypes.create_string_buffer(64)
length = call("keyctl", 11, TARGETS["key"], ctypes.addressof(buffer), 64)
print(buffer.raw[:length])
