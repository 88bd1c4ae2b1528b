# Switches the accounting of processes off.
# says: Operation not permitted
# control: no, it would do so
from attack import call

call("acct", 0)
