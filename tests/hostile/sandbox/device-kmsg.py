# Opens /dev/kmsg.
# says: No such file
# control: no, not every machine has it
open("/dev/kmsg", "rb").close()
