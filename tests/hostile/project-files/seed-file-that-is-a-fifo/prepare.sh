mkfifo cloud-init/zz.j2
