# Reads a file of the builder's home that nobody else may read.
# says: not found
from attack import TARGETS, everywhere

print(everywhere(TARGETS["secret"]))
