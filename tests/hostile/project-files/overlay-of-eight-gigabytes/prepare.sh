truncate -s 8G overlays/roles/worker/root/etc/big
