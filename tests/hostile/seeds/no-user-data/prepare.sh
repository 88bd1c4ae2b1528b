rm cloud-init/user-data.j2
