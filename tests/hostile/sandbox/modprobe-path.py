# Has the kernel start another program in place of modprobe.
# says: Permission denied|No such file
# control: no, not every kernel has it
with open("/proc/sys/kernel/modprobe", "r+") as file:
    file.write(file.read())
