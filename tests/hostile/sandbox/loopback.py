# Connects to a server on the host's 127.0.0.1.
# says: refused|unreachable
import socket
from attack import TARGETS

socket.create_connection(("127.0.0.1", TARGETS["port"]), timeout=3)
