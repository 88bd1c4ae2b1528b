mkfifo profiles/nodes/node-003.yaml
