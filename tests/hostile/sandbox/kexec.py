# Loads another kernel.
# says: Operation not permitted
# control: no, not every kernel has it
from attack import reached

reached("kexec_load", 0, 17, 0, 0)
