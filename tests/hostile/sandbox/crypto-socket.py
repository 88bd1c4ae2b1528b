# Opens a socket of the kernel's cryptography.
# says: Address family not supported
# control: no, not every kernel has it
from attack import call

call("socket", 38, 5, 0)
