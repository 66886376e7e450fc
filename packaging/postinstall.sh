#!/bin/sh
# After an installation and after an upgrade: a service that runs goes on as the new
# program. Attachments stay, and so do leases: processes of their own have them meanwhile.
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	systemctl try-restart gopipework.service || :
elif command -v rc-service >/dev/null; then
	rc-service --quiet --ifstarted gopipework restart || :
fi
