# Takes away the host's swap.
# says: Operation not permitted
from attack import reached

reached("swapoff", b"/nonexistent")
