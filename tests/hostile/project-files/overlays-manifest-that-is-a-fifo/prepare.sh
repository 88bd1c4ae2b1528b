rm overlays/manifest.yaml
mkfifo overlays/manifest.yaml
