printf '#!/bin/sh\r\necho hi\r\n' >overlays/roles/worker/root/etc/fan.sh
