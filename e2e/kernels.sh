#!/bin/bash
# Runs what this machine's kernel was perhaps built without, on one that has it:
# Debian's user-mode-linux, a kernel that is a process, with this machine's files
# as its root. Exit code 0 says that every test ran there and passed; a test that
# would be skipped fails. One line tells which kernel ran which test.
#
#	kernels.sh          every test of the list
#	kernels.sh REGEXP   those packages of the list whose line it matches
#
# Each package has a kernel of its own, and two run at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

# What runs there: a package, its tests (go test -run), and what has to be there
# for them (GOPIPEWORK_REQUIRE), which is passed on as it stands.
tests=(
	'./attach ^(TestKinds|TestIPvlanMode|TestVLANLink|TestHardware|TestHostAccessVLAN|TestOrigin|TestTakeOver)$/^[^O] root,macvlan,macvtap,ipvlan,8021q,dummy,vlan_filtering,nic'
	'./attach ^TestLendKinds$/^(macvlan|macvtap|ipvlan|vlan|dummy|ifb|veth|vxlan|geneve) root,macvlan,macvtap,ipvlan,vlan,dummy,ifb,veth,vxlan,geneve'
	'./attach ^TestLend(NotOurs|LowMTU)$/^(macvlan|macvtap|ipvlan|vlan|dummy|ifb|veth|vxlan|geneve) root,macvlan,macvtap,ipvlan,vlan,dummy,ifb,veth,vxlan,geneve'
	'./attach ^TestLendKinds$/^(gretap|gre|ipip|sit|ip6tnl|bond|vrf|macsec|team|nlmon|vcan|vxcan)$ root,gretap,gre,ipip,sit,ip6tnl,bond,vrf,macsec,team,nlmon,vcan,vxcan'
	'./attach ^TestLend(IndexTaken|MovedOn|Deleted)$/^(ipvlan|vcan|dummy|vlan)$ root,ipvlan,vcan,dummy,vlan'
	'./attach ^(TestBridgeVLANs|TestVerifyVLAN|TestShape.*|TestSetRare|TestMirrorUndo)$/^[^O] root,macvlan,8021q,vlan_filtering,netem,ifb,matchall'
	'./attach ^(TestNamesake|TestParents|TestVLANName|TestUplinkVLAN) root,macvlan,ipvlan,8021q,dummy,vrf,vlan_filtering'
	'./attach ^(TestUndoSparesOthers|TestDetachAgain|TestDetachUnderOthers)$/(VLAN|vlan|VRF) root,macvlan,8021q,vlan_filtering,vrf'
	'./attach ^TestLendMaster$/^(vrf|bond|team)$ root,vrf,bond,team'
	'./attach ^(TestPark|TestTakeFails)$/^(VLAN|Open) root,vlan_filtering,ovs,openvswitch'
	'./e2e ^(TestReadmeKernels|TestVRFKernels)$ root,kernels'
	'./e2e ^(TestFaultsKernels|TestWellKernels|TestMirrorKernels)$ root,kernels'
	'./internal/survey ^TestKindsOfLink$ root,vrf,bond,8021q,vxlan,macvlan,ipvlan,dummy'
	'./internal/rtnl . root,vlan_filtering,netem,ifb'
	'./bridge ^TestOVS(KernelDatapath|Bridge|VLAN|DeadPort|Trace|TraceTags|Stations|Deaf)Live$ root,ovs,openvswitch'
)

# The modules the tests need: each has to load.
modules=(
	veth bridge br_netfilter macvlan ipvlan 8021q dummy ifb tun vrf openvswitch
	sch_netem sch_tbf sch_htb sch_ingress cls_u32 cls_matchall act_mirred act_police
	vxlan geneve macvtap
	ip_gre ipip sit ip6_tunnel bonding macsec team nlmon vcan vxcan
	nf_tables nft_compat iptable_filter ip6table_filter xt_physdev xt_comment xt_conntrack
)

limit=900 # seconds until a kernel counts as hanging, on a busy machine too; a test is ended 30 before

# inside is the first process of the other kernel. It runs line n of the list, and
# leaves the output and the exit code in files.
inside() {
	local dir=$1 cache=$2 n=$3 package run require status=0
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t tmpfs -o mode=755 run /run
	# Not below /run, of which the hosts of tests have one of their own each.
	mount -t tmpfs -o mode=1777 tmp /mnt
	export TMPDIR=/mnt
	# Its card: see TestHardware.
	export GOPIPEWORK_CARD=vec0
	export GOPIPEWORK_KERNEL=$(uname -r) GOPIPEWORK_BIN=$dir/bin
	ip link set lo up
	uname -r >"$dir/release"
	# It knows the iptables of old only.
	mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi
	# A tunnel's module makes a device in every namespace; here in none.
	echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net
	for m in "${modules[@]}"; do
		modprobe -d "$cache" "$m" || echo "$m" >>"$dir/$n.no-module"
	done
	read -r package run require <<<"$(sed -n "${n}p" "$dir/list")"
	# Before the machine is up for ten seconds, ovs-vswitchd 3.1 counts no
	# processors, and then handles no packets.
	while [[ $require == *openvswitch* && $(cut -d. -f1 /proc/uptime) -le 10 ]]; do sleep 1; done
	# As go test does: in the directory of the package.
	(cd "$package" && GOPIPEWORK_REQUIRE=$require GOPIPEWORK_TABLE=$dir/$n.table \
		"$dir/$n.test" -test.run "$run" -test.v -test.timeout "$((limit - 30))s") >"$dir/$n.log" 2>&1 || status=$?
	echo $status >"$dir/$n.status"
	sync
	# The machine is switched off a moment later. Should this process end before, the
	# kernel panics, and bash reports its end as "Aborted".
	echo o >/proc/sysrq-trigger
	sleep 60
}

# index makes, once, what modprobe reads: its own copy, for the package's belongs
# to root. Two that make it at once make the same, and the first one's is kept.
index() {
	local release=$1 from=/usr/lib/uml/modules/$1 new f
	cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gopipework/kernel-$release
	[[ -e $cache/lib/modules/$release/modules.dep.bin ]] && return
	mkdir -p "${cache%/*}"
	new=$(mktemp -d "$cache-XXXXXX")
	mkdir -p "$new/lib/modules/$release"
	for f in kernel modules.order modules.builtin modules.builtin.modinfo; do
		ln -s "$from/$f" "$new/lib/modules/$release/"
	done
	depmod -b "$new" "$release"
	mv -T "$new" "$cache" 2>/dev/null || rm -rf "$new"
}

# verdict prints a line for each test and, of what failed, all it said.
verdict() {
	local n=$1 package=$2 kernel
	kernel=$(cat "$dir/release")
	sed -nE "s#^ *--- (PASS|FAIL|SKIP): (.*)#$kernel  $package  \1 \2#p" "$dir/$n.log"
	if [[ -n ${GOPIPEWORK_LEFT_OUT:-} ]]; then # see leftout.sh
		sed -nE "s#^ *--- PASS: (\S+).*#${package##*/}\t\1#p" "$dir/$n.log" >>"$GOPIPEWORK_LEFT_OUT.ran"
	fi
	if [[ $(cat "$dir/$n.status") == 0 ]] && grep -q '^--- PASS' "$dir/$n.log" && ! grep -q '^ *--- SKIP' "$dir/$n.log"; then
		return 0
	fi
	echo "$package on Linux $kernel said:"
	cat "$dir/$n.log"
	return 1
}

if [[ ${1:-} == inside ]]; then
	inside "$2" "$3" "$4"
	exit
fi

./e2e/install.sh kernels
index "$(cd /usr/lib/uml/modules && printf '%s\n' * | sort -V | tail -n 1)"
dir=$(mktemp -d /tmp/gopipework-kernels-XXXXXX)
trap 'rm -rf "$dir"' EXIT
./e2e/install.sh --links "$dir/programs" kernels
. ./e2e/program/only.sh "$dir/programs"
printf '%s\n' "${tests[@]}" | grep -E -- "${1:-.}" >"$dir/list" || { echo "no line of the list matches $1" >&2; exit 2; }
make -s build DEST="$dir/bin/gopipework"
tcc -shared -nostdlib -o "$dir/xstate.so" e2e/testdata/xstate.c
n=0
while read -r package _; do
	n=$((n + 1))
	CGO_ENABLED=0 go test -c -o "$dir/$n.test" "$package"
done <"$dir/list"

# boot runs line n in a kernel. It has a card, whose wire ends in a namespace made
# for it.
boot() {
	local n=$1 ended=0
	printf '#!/bin/bash\nexec /bin/bash %q inside %q %q %q\n' "$PWD/e2e/kernels.sh" "$dir" "$cache" "$n" >"$dir/$n.init"
	chmod +x "$dir/$n.init"
	unshare --net bash -ec 'ip link set lo up; ip link add card type veth peer name wire address 02:00:00:00:00:55
		ip link set card up; ip link set wire up; ip address add 10.55.0.2/24 dev wire; exec "$@"' card \
		timeout --kill-after=5 $limit env "LD_PRELOAD=$dir/xstate.so" linux.uml root=/dev/root rootfstype=hostfs rootflags=/ rw mem=512M \
		"init=$dir/$n.init" vec0:transport=raw,ifname=card,depth=128 con=null con0=fd:0,fd:1 </dev/null >"$dir/$n.console" 2>&1 || ended=$?
	echo $ended >"$dir/$n.ended"
}

for ((n = 1; n <= $(wc -l <"$dir/list"); n++)); do
	while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
	boot $n &
done
wait

status=0 n=0
while read -r package _; do
	n=$((n + 1)) failed=0
	if [[ -s $dir/$n.no-module ]]; then
		echo "modules that do not load: $(tr '\n' ' ' <"$dir/$n.no-module")"
		failed=1
	fi
	if [[ -e $dir/$n.status ]]; then
		verdict $n "$package" || failed=1
	else
		echo "$package did not end (the kernel's own exit code: $(cat "$dir/$n.ended"); 124 and 137 are ours after $limit s)"
		tail -n 40 "$dir/$n.log" 2>/dev/null || true
		failed=1
	fi
	if ((failed)); then
		status=1
		echo "the end of the console:"
		tail -n 40 "$dir/$n.console"
	fi
done <"$dir/list"
if ((status == 0)) && [[ -n ${GOPIPEWORK_TABLE:-} ]]; then
	cat "$dir"/*.table >>"$GOPIPEWORK_TABLE" 2>/dev/null || true
fi
exit $status
