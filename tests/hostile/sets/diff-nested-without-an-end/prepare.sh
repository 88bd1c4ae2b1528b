python3 -c 'print("{\"plan\": " + "[" * 200000 + "]" * 200000 + "}")' >deep.json
