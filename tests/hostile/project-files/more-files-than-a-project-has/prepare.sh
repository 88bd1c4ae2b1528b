mkdir overlays/roles/worker/root/many
cd overlays/roles/worker/root/many
seq 20001 | xargs touch
