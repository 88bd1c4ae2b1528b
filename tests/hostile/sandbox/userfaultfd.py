# Stops the kernel in the middle of a copy.
# says: Operation not permitted
# control: no, not every kernel has it
from attack import call

call("userfaultfd", 0)
