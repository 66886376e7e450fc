#!/bin/sh
# After a removal. What gopipework recorded goes when the configuration does too (dpkg
# --purge); files of the user's in /etc/gopipework stay.
case ${1:-} in
purge) rm -rf /var/lib/gopipework ;;
upgrade | failed-upgrade | abort-* | disappear | 1) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
fi
