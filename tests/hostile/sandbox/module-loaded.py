# Loads a kernel module.
# says: Operation not permitted
# control: no, not every kernel has it
from attack import reached

reached("init_module", b"x", 1, b"")
