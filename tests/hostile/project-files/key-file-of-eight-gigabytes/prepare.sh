truncate -s 8G profiles/access/id_ed25519.pub
