mknod overlays/roles/worker/root/etc/null c 1 3
