# Puts another file in the place of the package in the cache.
# says: Permission denied|Read-only|busy
import os
from attack import TARGETS

os.rename(TARGETS["deb"], TARGETS["deb"] + ".moved")
os.rename(TARGETS["deb"] + ".moved", TARGETS["deb"])
