mkdir "overlays/$(printf 'roles\033[2K')"
