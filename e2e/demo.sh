#!/bin/bash
# The talk "network namespaces, and how to plug a container into a bridge",
# played for real. What is shown is what runs: each command as it is typed,
# with its own output.
#
# All of it happens on a machine of its own: its own network, mounts,
# processes, /run and Docker Engine. When the script ends, in whatever way,
# that machine ends, and this one is as it was.
#
# Exit code 0 says that the line of text has arrived.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [[ ${1:-} != inside ]]; then
	if [[ $(id -u) != 0 ]]; then
		echo "make demo needs root: it makes network namespaces" >&2
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
	CGO_ENABLED=0 go build -trimpath -o "$dir/bin/gopipework" ./cmd/gopipework
	unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc \
		"$BASH" "$PWD/e2e/demo.sh" inside "$dir" </dev/null
	exit
fi

# From here on we are the first process of the new machine.
dir=$2
trap 'exit 130' INT
trap 'exit 143' TERM
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /etc/docker
ip link set lo up
export PATH=$dir/bin:$PATH DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir
cd "$dir"

title() { printf '\n== %s\n\n' "$*"; }

# show runs a command and shows it.
show() {
	printf '# %s\n' "$1"
	eval "$1"
}

# until_ok waits for what takes a moment, ten seconds at most.
until_ok() {
	for _ in {1..200}; do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.05
	done
	echo "timeout: $*" >&2
	return 1
}

listens() { "$@" busybox netstat -ltn | grep -q :5000; }
left_the_host() { [[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]]; }

title "Named network namespaces"
show 'ip netns add blue'
show 'ip netns add red'
show 'ip netns list'

title "A new one has nothing but lo"
show 'ip -n blue link'

title "An interface moves in, and back"
show 'ip link add left type veth peer name right'
show 'ip -br link show type veth'
show 'ip link set left netns blue'
show 'ip -br link show type veth'
show 'ip -n blue -br link'
show 'ip -n blue link set left netns 1'
show 'ip -br link show type veth'
show 'ip link delete left'

title "Two namespaces, one cable, and data over it"
show 'ip link add b0 netns blue type veth peer name r0 netns red'
show 'ip -n blue address add 10.0.0.1/24 dev b0'
show 'ip -n red address add 10.0.0.2/24 dev r0'
show 'ip -n blue link set b0 up'
show 'ip -n red link set r0 up'
mkfifo stdin && exec 3<>stdin # nc would end with its input: this one has no end
show 'ip netns exec red busybox nc -l -p 5000 <&3 >heard &'
until_ok listens ip netns exec red
show 'echo "hello over a cable" | ip netns exec blue busybox nc 10.0.0.2 5000'
until_ok grep -q 'over a cable' heard
show 'cat heard'
show 'ip netns delete blue'
show 'ip netns delete red'
show 'ip netns list'

title "A namespace without a name"
show 'unshare --net sleep 1000 & guest=$!'
until_ok left_the_host "$guest"
show 'gopipework brtest pid:$guest 192.168.1.9/24'
show 'nsenter --net --target $guest ip -br address'
show 'gopipework list'
show 'gopipework detach pid:$guest'
show 'kill $guest'
wait "$guest" 2>/dev/null || true

title "Docker: two containers on a bridge"
mkdir -p root/bin root/tmp root/etc
cp "$(command -v busybox)" root/bin/busybox
for applet in $(busybox --list); do
	[[ $applet == busybox ]] || ln -s busybox "root/bin/$applet"
done
dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "$DOCKER_HOST" \
	--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "${dir##*/}" >dockerd.log 2>&1 &
dockerd=$!
until_ok docker version || { tail dockerd.log >&2; exit 1; }
tar -C root -c . | docker import - busybox >/dev/null

show 'docker run -d -i --name web busybox nc -l -p 5000'
show 'docker run -d -i --name db busybox nc -l -p 5000'
show 'iptables -S FORWARD | head -1'
show 'gopipework brtest web 192.168.1.2/24'
show 'gopipework brtest db 192.168.1.3/24'
show 'gopipework list'
show 'ip -br link show master brtest'
show 'iptables -S DOCKER-USER'
until_ok listens docker exec web
show 'echo "hello over brtest" | docker exec -i db nc 192.168.1.2 5000'
until_ok sh -c 'docker logs web | grep -q "hello over brtest"' || true
show 'docker logs web'
arrived=$(docker logs web)

title "And everything back"
show 'gopipework detach db'
show 'ip -br link show type bridge'
docker rm -f web db >/dev/null
gopipework list
kill "$dockerd" && wait "$dockerd" || true

if [[ $arrived != "hello over brtest" ]]; then
	echo "the line of text did not arrive" >&2
	exit 1
fi
printf '\nThe line of text has crossed brtest.\n'
