sed -i "s#file:profiles/access/id_ed25519.pub#file:~nobody-of-that-name/key#" profiles/cluster.yaml
