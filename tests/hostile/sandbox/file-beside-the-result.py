# Makes a file beside the result, in the builder's work folder.
# says: Permission denied|not permitted|Read-only
# control: no, it needs a bake
import glob, os

from attack import TARGETS
(result,) = glob.glob(TARGETS["work"] + "/*/root.tar")
os.close(os.open(os.path.dirname(result) + "/beside", os.O_CREAT | os.O_WRONLY))
