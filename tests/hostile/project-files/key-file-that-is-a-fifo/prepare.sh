rm profiles/access/id_ed25519.pub
mkfifo profiles/access/id_ed25519.pub
