# Reads the kernel's memory by /proc/kcore.
# says: not permitted|denied|No such file
# control: no, not every kernel has it
open("/proc/kcore", "rb").read(4)
