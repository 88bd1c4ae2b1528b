ln -s /dev/zero profiles/nodes/node-003.yaml
