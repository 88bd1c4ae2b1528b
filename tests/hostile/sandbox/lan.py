# Sends a packet to another machine.
# says: unreachable
import socket

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
