echo "root:\$6\$canary:1:0:99999:7:::" >profiles/roles/worker.yaml
