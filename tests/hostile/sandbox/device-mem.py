# Opens /dev/mem.
# says: No such file
# control: no, not every machine has it
open("/dev/mem", "rb").close()
