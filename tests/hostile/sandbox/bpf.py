# Gives the kernel a program of its own.
# says: Operation not permitted
from attack import reached

reached("bpf", 0, 0, 0)
