sed -i "s/^domain: .*/domain: $(printf 'abcdefghi.%.0s' $(seq 30))lan/" profiles/cluster.yaml
