# Reads a file of the project that the bake was not given.
# says: not found
from attack import TARGETS, everywhere

print(everywhere(TARGETS["project"]))
