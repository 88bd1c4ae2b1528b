mkfifo node-003.manifest.json
