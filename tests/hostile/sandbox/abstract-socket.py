# Connects to an abstract socket of the host, such as a desktop's message bus.
# says: refused
import socket
from attack import TARGETS

socket.socket(socket.AF_UNIX).connect("\0" + TARGETS["abstract"])
