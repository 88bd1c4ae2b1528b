# Opens a socket to the hypervisor, which no network namespace keeps apart.
# says: Address family not supported
# control: no, not every kernel has it
from attack import call

call("socket", 40, 1, 0)
