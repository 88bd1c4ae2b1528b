# Reads the password hashes of the host.
# says: not found
from attack import everywhere

print(everywhere("/etc/shadow"))
