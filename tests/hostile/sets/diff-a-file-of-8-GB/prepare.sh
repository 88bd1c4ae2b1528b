printf '{' >large.json
truncate -s 8G large.json
