#!/bin/sh
# Before a removal. A package manager that upgrades says so by the first argument: dpkg by
# a word, rpm by how many versions there will be.
there=
case ${1:-} in
upgrade | failed-upgrade | deconfigure | 1) exit 0 ;;
0) there=--on-host ;; # rpm, which runs this without the host's network from 4.20 on
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now gopipework.service || :
elif command -v rc-service >/dev/null; then
	rc-service --quiet --ifstarted gopipework stop || :
	rc-update --quiet del gopipework || :
fi
names() { timeout 10 gopipework "$@" list -o name 2>/dev/null </dev/null; }
left=$(names $there || names) || left=
if [ -n "$left" ]; then
	{ # rpm shows only what goes to standard error
		echo "gopipework: these attachments stay until their guests stop (detach them first if they should not):"
		echo "$left"
	} >&2
fi
