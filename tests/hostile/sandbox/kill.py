# Sends a signal to a process of the host.
# says: No such process
import os
from attack import TARGETS

os.kill(TARGETS["pid"], 18)
