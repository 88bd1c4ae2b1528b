# Opens the trigger that can crash the host.
# says: Permission denied|No such file
# control: no, not every kernel has it
open("/proc/sysrq-trigger", "w").close()
