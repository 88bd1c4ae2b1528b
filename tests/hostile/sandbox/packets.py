# Opens a socket for raw packets.
# says: Address family not supported
import socket

socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
