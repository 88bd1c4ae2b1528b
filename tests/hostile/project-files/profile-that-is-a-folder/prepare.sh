mkdir profiles/nodes/node-003.yaml
