# Loads a kernel module from a file.
# says: Operation not permitted
# control: no, not every kernel has it
from attack import reached

reached("finit_module", -1, b"", 0)
