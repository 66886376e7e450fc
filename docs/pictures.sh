#!/bin/bash
# Make the pictures of the documentation: the page of gopipework graph --serve in Chromium,
# on a host that is made for it. On the way it is checked that what is attached while the
# page is open appears within a second, and that what is cut off turns red within a second.
#
# The host is a network namespace, with its own mounts, /run and processes, and ends with
# the script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [[ ${1:-} != inside ]]; then
	if [[ $(id -u) != 0 ]]; then
		echo "make docs needs root, because it creates network namespaces" >&2
		exit 4
	fi
	for program in chromium node npm nft; do
		command -v "$program" >/dev/null || { echo "make docs needs $program" >&2; exit 1; }
	done
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	cp docs/package.json docs/package-lock.json docs/pictures.mjs "$dir"
	(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --silent)
	CGO_ENABLED=0 go build -trimpath -o "$dir/bin/gopipework" ./cmd/gopipework
	unshare --net --uts --mount --propagation slave --pid --fork --kill-child --mount-proc \
		timeout 120 "$BASH" "$PWD/docs/pictures.sh" inside "$dir" </dev/null
	exit
fi

dir=$2
export PATH=$dir/bin:$PATH DOCKER_HOST=unix://$dir/no-docker.sock
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns
hostname host1
ip link set lo up

# What somebody else has made: a bridge with guests, as an engine does.
ip link add lan0 type bridge
ip address add 172.20.0.1/24 dev lan0
ip link set lan0 up
n=2
for guest in proxy web1 web2 web3 db cache; do
	ip netns add "$guest"
	ip -n "$guest" link set lo up
	ip link add "veth$guest" type veth peer name eth0 netns "$guest"
	ip link set "veth$guest" master lan0 up
	ip -n "$guest" address add "172.20.0.$n/24" dev eth0
	ip -n "$guest" link set eth0 up
	n=$((n + 1))
done
ip netns add backup

# What gopipework makes.
for i in 1 2 3; do
	gopipework br1 "netns:web$i" "10.1.0.1$i/24"
done
gopipework br1 netns:proxy 10.1.0.10/24
gopipework br1 netns:db 10.1.0.20/24
gopipework link netns:db:eth2 10.9.0.1/30 netns:cache:eth2 10.9.0.2/30
ip -n cache link set eth0 down
gopipework br1 netns:backup 10.1.0.30/24

ip netns exec proxy ping -q -i 0.01 -w 100 -s 1400 10.1.0.11 >/dev/null &
ip netns exec web2 ping -q -i 0.05 -w 100 -s 1400 172.20.0.1 >/dev/null &
ip netns exec db ping -q -i 0.02 -w 100 -s 600 10.9.0.2 >/dev/null &
gopipework graph --serve 127.0.0.1:8080 &
cd "$dir"
node pictures.mjs http://127.0.0.1:8080/ "$OLDPWD/docs"
