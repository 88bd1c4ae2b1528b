# Reboots; the wrong number keeps it from doing so where it may.
# says: Operation not permitted
from attack import reached

reached("reboot", 1, 2, 3, 0)
