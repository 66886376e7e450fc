#!/bin/bash
# The talk "network namespaces, and how to plug a container into a bridge",
# played for real. What is shown is what runs: each command as it is typed,
# with its own output. A section's name on the line plays that one alone.
#
# All of it happens on a machine of its own: its own network, mounts,
# processes, /run and Docker Engine. When the script ends, in whatever way,
# that machine ends, and this one is as it was.
#
# Exit code 0 says that everything that is said was also seen.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

sections=(names new move cable unshare lxc docker)

if [[ ${1:-} != inside ]]; then
	for step in "$@"; do
		if [[ " ${sections[*]} " != *" $step "* ]]; then
			echo "there is no section $step; choose from ${sections[*]}" >&2
			exit 2
		fi
	done
	if [[ $(id -u) != 0 ]]; then
		echo "make demo needs root, because it creates network namespaces" >&2
		exit 4
	fi
	./e2e/install.sh
	dir=$(mktemp -d /tmp/gopipework-demo-XXXXXX)
	made=
	if [[ ! -d /etc/docker ]]; then # dockerd writes there; the demo mounts over it
		mkdir /etc/docker
		made=/etc/docker
	fi
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	clean_up() {
		for _ in {1..50}; do # the last processes are still ending
			find /sys/fs/cgroup -depth -type d -path "*/${dir##*/}*" -exec rmdir {} + 2>/dev/null || true
			rm -rf "$dir" 2>/dev/null && break
			sleep 0.1
		done
		[[ -z $made ]] || rmdir "$made"
	}
	./e2e/install.sh --links "$dir/programs"
	CGO_ENABLED=0 go build -trimpath -o "$dir/bin/gopipework" ./cmd/gopipework
	unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc \
		"$BASH" "$PWD/e2e/demo.sh" inside "$dir" "${@:-${sections[@]}}" </dev/null
	exit
fi

# From here on we are the first process of the new machine.
dir=$2
shift 2
trap 'exit 130' INT
trap 'exit 143' TERM
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /etc/docker
ip link set lo up
. ./e2e/program/only.sh "$dir/bin:$dir/programs"
export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir
cd "$dir"

title() { printf '\n== %s\n' "$*"; }
say() { printf '\n%s\n\n' "$*"; }

# show runs a command and shows it.
show() {
	printf '# %s\n' "$1"
	eval "$1"
}

# sees runs a command, shows it, and ends the demo unless its output is as the
# first word says: text that is in it, after a ! text that is not, "" for none.
sees() {
	local output
	printf '# %s\n' "$2"
	output=$(eval "$2" 2>&1) || true
	[[ -z $output ]] || printf '%s\n' "$output"
	case $1 in
	'') [[ -z $output ]] ;;
	!*) [[ $output != *"${1:1}"* ]] ;;
	*) [[ $output == *"$1"* ]] ;;
	esac || { printf 'this should have printed: %s\n' "${1:-nothing}" >&2; exit 1; }
}

# until_ok waits for what takes a moment, or a minute on a busy machine.
until_ok() {
	local end=$((SECONDS + 60))
	while ((SECONDS < end)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.05
	done
	echo "timeout: $*" >&2
	return 1
}

listens() { # on a port, as a command sees it
	local port=$1
	shift
	"$@" busybox netstat -ltn | grep -q ":$port "
}
left_the_host() { [[ $(readlink "/proc/$1/ns/net") != "$(readlink /proc/self/ns/net)" ]]; }

watches() { [[ $(readlink /proc/"$1"/fd/*) == *inotify* ]]; }

names() {
	title "Network namespaces with a name"
	say "Each name is a file in /run/netns. ip netns monitor reports names as they come and go."
	show 'stdbuf -oL ip netns monitor >monitor & monitor=$!'
	until_ok watches "$monitor"
	show 'ip netns add blue'
	show 'ip netns add red'
	sees 'blue' 'ip netns list'
	sees 'red' 'ls -l /run/netns'
	show 'ip netns delete blue'
	show 'ip netns delete red'
	sees '' 'ls /run/netns'
	until_ok grep -q 'delete red' monitor
	sees $'add blue\nadd red\ndelete blue\ndelete red' 'cat monitor'
	kill "$monitor"
	wait "$monitor" 2>/dev/null || true
}

new() {
	title "A new network namespace"
	say "It contains lo, which is down, and no address, route or socket."
	show 'ip netns add blue'
	sees 'DOWN' 'ip -n blue link'
	sees '' 'ip -n blue address show up'
	sees '' 'ip -n blue route show table all'
	sees '' 'ip netns exec blue ss --no-header --all --tcp --udp --raw --unix --packet'
	show 'ip netns delete blue'
}

move() {
	title "Moving an interface into a namespace"
	say "An interface is in exactly one namespace. While it is in blue, the host does not have it."
	show 'ip netns add blue'
	show 'ip link add left type veth peer name right'
	show 'ip link set left netns blue'
	sees 'does not exist' 'ip link show left'
	sees 'left' 'ip -n blue -br link'
	show 'ip -n blue link set left netns 1'
	sees 'left' 'ip -br link show left'
	show 'ip link delete left'
	show 'ip netns delete blue'
}

cable() {
	title "Two network namespaces talk"
	say "A veth pair is a cable between them. We send a line of text across it."
	show 'ip netns add blue'
	show 'ip netns add red'
	show 'ip link add b0 netns blue type veth peer name r0 netns red'
	show 'ip -n blue address add 10.0.0.1/24 dev b0'
	show 'ip -n red address add 10.0.0.2/24 dev r0'
	show 'ip -n blue link set b0 up'
	show 'ip -n red link set r0 up'
	mkfifo stdin && exec 3<>stdin # nc would end with its input: this one has no end
	show 'ip netns exec red busybox nc -l -p 5000 <&3 >heard &'
	until_ok listens 5000 ip netns exec red
	show 'echo "hello over a cable" | ip netns exec blue busybox nc 10.0.0.2 5000'
	until_ok grep -q 'over a cable' heard
	sees 'hello over a cable' 'cat heard'
	show 'ip netns delete blue'
	show 'ip netns delete red'
}

unshare_net() {
	title "A network namespace without a name: unshare --net"
	say "It is not listed in /run/netns. gopipework finds it by its process, and it ends with that process."
	show 'unshare --net sleep 1000 & guest=$!'
	until_ok left_the_host "$guest"
	sees '' 'ls /run/netns 2>/dev/null'
	sees 'net:[' 'readlink /proc/$guest/ns/net'
	show 'gopipework brtest pid:$guest 192.168.1.9/24'
	sees '192.168.1.9/24' 'nsenter --net --target $guest ip -br address'
	sees 'complete' 'gopipework list'
	show 'kill $guest'
	wait "$guest" 2>/dev/null || true
	until_ok port_is_gone # the kernel takes a namespace apart in its own time
	sees '' 'ip -br link show master brtest'
	show 'gopipework gc'
	sees 'does not exist' 'ip link show brtest'
}
port_is_gone() { [[ -z $(ip -br link show master brtest) ]]; }

lxc() {
	title "LXC: five types of network"
	say "Each lxc.net.0.type corresponds to one command line. nic0 and nic1 are veth pairs that play network cards."
	show 'ip link add nic0 type veth peer name wire0'
	show 'ip link add nic1 type veth peer name wire1'
	show 'ip link set wire0 up && ip link set wire1 up'
	for type in empty veth vlan macvlan phys; do ip netns add "$type"; done
	echo '-- empty: only lo, which every guest has from the start'
	sees 'lo ' 'gopipework exec netns:empty -- ip -br link'
	echo '-- veth: one end in the guest, the other in a bridge'
	show 'gopipework brtest netns:veth 10.1.0.2/24'
	sees '10.1.0.2/24' 'gopipework list veth'
	echo '-- vlan: an 802.1Q sub-interface of a card'
	vlan
	echo '-- macvlan: an interface on a card, with a MAC address of its own'
	show 'gopipework nic0 netns:macvlan 10.3.0.2/24'
	sees 'macvlan' 'gopipework list macvlan'
	echo '-- phys: the card itself, until the detach'
	show 'gopipework phys:nic1 netns:phys 10.4.0.2/24'
	sees 'does not exist' 'ip link show nic1'
	show 'gopipework detach phys'
	sees 'nic1' 'ip -br link show nic1'
	for type in empty veth vlan macvlan phys; do
		gopipework detach --all "netns:$type"
		ip netns delete "$type"
	done
	sees '' 'gopipework list'
	ip link delete nic0
	ip link delete nic1
}

# vlan leaves its type out where the kernel has no 802.1Q: exit code 6.
vlan() {
	local line='gopipework vlan:nic0 netns:vlan 10.2.0.2/24 @10' code=0
	printf '# %s\n' "$line"
	$line 2>&1 || code=$?
	case $code in
	0) sees '10.2.0.2/24' 'gopipework list vlan' ;;
	6) echo '(left out: this kernel has no 802.1Q)' ;;
	*) exit 1 ;;
	esac
}

docker_bridge() {
	title "Docker: a published port, a link, and our own bridge"
	start_docker
	say "Docker's published ports and links keep working after we add an interface."
	show 'docker run -d --name web -p 8080:80 busybox httpd -f -h /www'
	show 'gopipework brtest web 192.168.1.4/24'
	until_ok listens 80 docker exec web
	sees 'hello from web' 'busybox wget -q -O - http://127.0.0.1:8080/'
	sees 'hello from web' 'docker run --rm --link web busybox wget -q -O - http://web/'

	say "Two containers talk over brtest, in both directions. We name them by the short IDs that docker run printed."
	container mynetcat
	local one=$short
	container mynetcat2
	local two=$short
	show "gopipework brtest $one 192.168.1.2/24"
	show "gopipework brtest $two 192.168.1.3/24"
	sees 'docker:mynetcat2' 'gopipework list'
	sees 'veth' 'ip -br link show master brtest'
	sees 'brtest' 'iptables -S DOCKER-USER'
	until_ok listens 44444 docker exec mynetcat
	until_ok listens 44444 docker exec mynetcat2
	show 'echo "hello from mynetcat2" | docker exec -i mynetcat2 nc 192.168.1.2 44444'
	show 'echo "hello from mynetcat" | docker exec -i mynetcat nc 192.168.1.3 44444'
	until_ok logged mynetcat 'hello from mynetcat2'
	until_ok logged mynetcat2 'hello from mynetcat'
	sees 'hello from mynetcat2' 'docker logs mynetcat'
	sees 'hello from mynetcat' 'docker logs mynetcat2'

	say "Detach undoes everything; the last one also deletes the bridge and the firewall's rule."
	show 'gopipework detach web'
	show "gopipework detach $one"
	show "gopipework detach $two"
	sees 'does not exist' 'ip link show brtest'
	sees '!brtest' 'iptables -S DOCKER-USER'
	docker rm -f web mynetcat mynetcat2 >/dev/null
	kill "$dockerd" && wait "$dockerd" || true
}
logged() { docker logs "$1" | grep -qx "$2"; }

# container starts one that listens on port 44444, and sets short to what
# "docker ps" shows of the ID that docker run prints.
container() {
	local line="docker run -d -i --name $1 busybox sh -c 'while :; do nc -l -p 44444; done'" id
	printf '# %s\n' "$line"
	id=$(eval "$line")
	printf '%s\n' "$id"
	short=${id:0:12}
}

# start_docker starts an engine of our own, with an image that is made of the
# host's busybox.
start_docker() {
	mkdir -p root/bin root/tmp root/etc root/www
	echo "hello from web" >root/www/index.html
	cp "$(command -v busybox)" root/bin/busybox
	for applet in $(busybox --list); do
		[[ $applet == busybox ]] || ln -s busybox "root/bin/$applet"
	done
	dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "$DOCKER_HOST" \
		--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "${dir##*/}" >dockerd.log 2>&1 &
	dockerd=$!
	until_ok docker version || { tail dockerd.log >&2; exit 1; }
	tar -C root -c . | docker import - busybox >/dev/null
}

for section in "$@"; do
	case $section in
	unshare) unshare_net ;;
	docker) docker_bridge ;;
	*) "$section" ;;
	esac
done
printf '\nEverything worked as announced.\n'
