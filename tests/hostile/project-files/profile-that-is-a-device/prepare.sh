mknod profiles/nodes/node-003.yaml c 1 5
