touch "profiles/nodes/$(printf 'x\nnote    all is well')"
