# Attaches to a process, as a debugger does.
# says: Operation not permitted
import os, time
from attack import call
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
try:
    call("ptrace", 16, child, 0, 0)
finally:
    os.kill(child, 9)
