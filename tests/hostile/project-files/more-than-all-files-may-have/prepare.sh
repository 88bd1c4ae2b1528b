for i in 1 2 3 4 5 6 7 8 9; do truncate -s 63M overlays/roles/worker/root/etc/$i; done
