chmod 644 profiles/access/node-passwords
