rm profiles/keys/alpine.asc
mkfifo profiles/keys/alpine.asc
