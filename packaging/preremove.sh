#!/bin/sh
# Before a removal. A package manager that upgrades says so by the first argument: dpkg by
# a word, rpm by how many versions there will be.
case ${1:-} in
upgrade | failed-upgrade | deconfigure | 1) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now gopipework.service || :
elif command -v rc-service >/dev/null; then
	rc-service --quiet --ifstarted gopipework stop || :
	rc-update --quiet del gopipework || :
fi
left=$(timeout 10 gopipework list -o name 2>/dev/null </dev/null) || left=
if [ -n "$left" ]; then
	echo "gopipework: these attachments stay until their guests stop (detach them first if they should not):"
	echo "$left"
fi
