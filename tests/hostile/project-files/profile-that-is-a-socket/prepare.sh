python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("profiles/nodes/node-003.yaml")'
