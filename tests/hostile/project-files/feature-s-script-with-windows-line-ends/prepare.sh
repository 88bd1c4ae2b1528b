file=$(grep -rlI '^#!' overlays/features --include=pimu-* | grep -v 'j2$' | sort | head -n 1)
sed -i 's/$/\r/' "$file"
