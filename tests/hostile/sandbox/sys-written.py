# Finds /sys, and writes there.
# says: No such file|Permission denied
with open("/sys/kernel/mm/transparent_hugepage/enabled", "r+") as file:
    file.write(file.read().split("[")[1].split("]")[0])
