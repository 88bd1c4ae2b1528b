printf '%032d\n%032d\n' >profiles/access/node-passwords
