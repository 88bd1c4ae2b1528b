truncate -s 8G node-003.manifest.json
