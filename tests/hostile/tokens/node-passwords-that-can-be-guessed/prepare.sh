echo secret >profiles/access/node-passwords
