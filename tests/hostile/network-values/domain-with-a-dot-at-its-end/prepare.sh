sed -i "s/^domain: .*/domain: lan./" profiles/cluster.yaml
