# Watches the kernel by its performance counters.
# says: Operation not permitted
from attack import reached

reached("perf_event_open", 0, 0, -1, -1, 0)
