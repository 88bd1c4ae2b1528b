printf '\033]0;mine\007\033[2J0123456789abcdef' >profiles/access/k3s-agent-token
