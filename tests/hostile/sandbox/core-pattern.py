# Has the kernel start a program as root of the host at the next crash.
# says: Permission denied
with open("/proc/sys/kernel/core_pattern", "r+") as file:
    file.write(file.read())
