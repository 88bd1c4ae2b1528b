# Has the kernel do system calls that no filter sees.
# says: Operation not permitted
# control: no, not every kernel has it
from attack import reached

reached("io_uring_setup", 1, 0)
