# Lifts the memory limit of the build's control group.
# says: Read-only|No such file|denied
# control: no, not every control group has one
with open("/sys/fs/cgroup/memory.max", "r+") as file:
    file.write(file.read())
