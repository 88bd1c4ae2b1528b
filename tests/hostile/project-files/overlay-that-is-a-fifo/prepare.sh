mkfifo overlays/roles/worker/root/etc/pipe
