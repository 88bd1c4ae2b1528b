# Changes a setting of the host's kernel.
# says: Permission denied
with open("/proc/sys/kernel/panic", "r+") as file:
    file.write(file.read())
