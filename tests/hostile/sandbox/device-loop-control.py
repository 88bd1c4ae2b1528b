# Opens /dev/loop-control.
# says: No such file
# control: no, not every machine has it
open("/dev/loop-control", "rb").close()
