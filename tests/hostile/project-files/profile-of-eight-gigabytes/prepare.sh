truncate -s 8G profiles/nodes/node-003.yaml
