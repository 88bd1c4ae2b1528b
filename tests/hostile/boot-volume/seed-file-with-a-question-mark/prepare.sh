touch 'cloud-init/what?'
