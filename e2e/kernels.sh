#!/bin/bash
# Runs what this machine's kernel was perhaps built without, on one that has it:
# Debian's user-mode-linux, a kernel that is a process, with this machine's files
# as its root. It has 802.1Q, ipvlan, dummy, bridge VLAN filtering, the datapath
# of Open vSwitch and more, as modules. Exit code 0 says that every test ran there and passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

if [[ ${1:-} == inside ]]; then
	# The first process of the other kernel.
	dir=$2
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t tmpfs tmpfs /run
	ip link set lo up
	for m in bridge veth macvlan ipvlan 8021q dummy openvswitch; do
		modprobe -d "$dir" "$m"
	done
	uname -r
	status=0
	GOPIPEWORK_REQUIRE=root,macvlan,ipvlan,8021q,dummy \
		"$dir/attach.test" -test.run '^(TestKinds|TestVLANLink)$' -test.v || status=$?
	# The sockets and locks of Open vSwitch are on a file system of this kernel's own.
	mount -t tmpfs tmpfs /mnt
	TMPDIR=/mnt GOPIPEWORK_REQUIRE=root,ovs,openvswitch \
		"$dir/bridge.test" -test.run '^TestOVS(KernelDatapath|Bridge|Port|VLAN|DeadPort)Live$' -test.v || status=$?
	sync
	echo "$status" >"$dir/status"
	halt -f -p 2>/dev/null || poweroff -f 2>/dev/null || echo o >/proc/sysrq-trigger
	exit
fi

./e2e/install.sh kernels
dir=$(mktemp -d /tmp/gopipework-kernels-XXXXXX)
trap 'rm -rf "$dir"' EXIT
release=$(ls /usr/lib/uml/modules | tail -n 1)
mkdir -p "$dir/lib/modules"
ln -s "/usr/lib/uml/modules/$release" "$dir/modules-source"
cp -r "/usr/lib/uml/modules/$release" "$dir/lib/modules/"
depmod -b "$dir" "$release"
CGO_ENABLED=0 go test -c -o "$dir/attach.test" ./attach
CGO_ENABLED=0 go test -c -o "$dir/bridge.test" ./bridge
printf '#!/bin/bash\nexec /bin/bash %q inside %q\n' "$PWD/e2e/kernels.sh" "$dir" >"$dir/init"
chmod +x "$dir/init"
timeout 300 linux.uml root=/dev/root rootfstype=hostfs rootflags=/ rw mem=512M "init=$dir/init" con=null con0=fd:0,fd:1 </dev/null |
	sed -n '/^[0-9.]*$/p; /^=== RUN/d; /^ *---/p; /^PASS/p; /^FAIL/p; /_test.go/,/^ *---/p' || true
[[ $(cat "$dir/status" 2>/dev/null) == 0 ]]
