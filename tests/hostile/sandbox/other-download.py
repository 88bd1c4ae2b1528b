# Reads a download in the cache that this bake does not use.
# says: not found
from attack import TARGETS, everywhere

print(everywhere(TARGETS["other_download"]))
