head -c 4096 /dev/urandom >node-003.manifest.json
printf '\377' >>node-003.manifest.json
