# Opens /dev/kvm.
# says: No such file
# control: no, not every machine has it
open("/dev/kvm", "rb").close()
