mkdir overlays/roles/worker/boot
touch 'overlays/roles/worker/boot/a:b'
