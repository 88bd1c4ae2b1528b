# Writes into the builder's own code, for its next run.
# says: Read-only|denied|not found
from attack import TARGETS, everywhere

everywhere(TARGETS["code"])
with open(TARGETS["code"], "r+b") as file:
    file.write(file.read(1))
