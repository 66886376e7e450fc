#!/bin/bash
# Measures what grows with the attachments of one bridge, as docs/scale.md reports it. It needs
# root, and leaves nothing: all is in namespaces of its own.
#
#	scale.sh [N...]    with N attachments; 100, 500 and 1000 if none is given
#
# attach is one more, by a line; apply all of a file, and again what that takes once they are
# there; watch the memory in KB of a watch with that file, all else milliseconds of processor
# time; fdb the entries of the bridge.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z ${GOPIPEWORK_SCALE:-} ]]; then
	GOPIPEWORK_SCALE=$(mktemp -d)
	export GOPIPEWORK_SCALE
	trap 'rm -rf "$GOPIPEWORK_SCALE"' EXIT
	make --no-print-directory -s build DEST="$GOPIPEWORK_SCALE/gopipework"
	unshare --net --mount "$0" "$@"
	exit
fi
PATH=$GOPIPEWORK_SCALE:$PATH
file=$GOPIPEWORK_SCALE/all.yaml
export DOCKER_HOST=unix:///run/nobody.sock # named namespaces are the guests
mount -t tmpfs run /run
mount -t tmpfs state /var/lib
ip link set lo up
iptables -P FORWARD DROP

address() { echo "10.0.$(($1 / 250)).$(($1 % 250 + 1))/16"; }

# took prints the milliseconds of processor time that a command takes, on average of COUNT runs:
# how long they take depends on what else the machine does.
took() { # COUNT COMMAND...
	local count=$1 TIMEFORMAT='%U %S'
	shift
	several() { local k; for ((k = 0; k < count; k++)); do "$@" >/dev/null 2>"$GOPIPEWORK_SCALE/said" || cat "$GOPIPEWORK_SCALE/said" >&3; done; }
	{ time several "$@"; } 3>&2 2>&1 | awk -v n="$count" '{printf "%.1f\n", ($1 + $2) * 1000 / n}'
}

# watching sets memory to the KB that watch uses once it has attached all n guests.
watching() {
	local watch end=$((SECONDS + 300))
	gopipework watch -f "$file" >/dev/null 2>&1 &
	watch=$!
	until (($(gopipework list --json | grep -o '"complete"' | wc -l) == n || SECONDS > end)); do sleep 0.2; done
	sleep 3
	memory=$(awk '/^VmRSS/ {print $2}' "/proc/$watch/status")
	kill "$watch"
	wait "$watch" || true # or it attaches again what is detached next
}

# one attaches the next guest.
one() { gopipework brtest "netns:g$n-$i" "$(address "$i")" && i=$((i + 1)); }

row='%6s %10s %10s %8s %8s %8s %8s %10s %6s\n'
# shellcheck disable=SC2059
printf "$row" N attach apply list gc doctor again watch fdb
[[ $# -gt 0 ]] || set -- 100 500 1000
for n; do
	{
		echo attachments:
		for ((i = 0; i < n; i++)); do
			ip netns add "g$n-$i"
			echo "  - brtest netns:g$n-$i $(address "$i")"
		done
	} >"$file"
	apply=$(took 1 gopipework apply -f "$file")
	list=$(took 5 gopipework list)
	gc=$(took 5 gopipework gc)
	doctor=$(took 5 gopipework doctor "netns:g$n-0")
	again=$(took 5 gopipework apply -f "$file")
	fdb=$(bridge fdb show br brtest | wc -l)
	for ((i = 0; i < 10; i++)); do gopipework detach "netns:g$n-$i" 2>/dev/null; done
	i=0
	attach=$(took 10 one)
	gopipework destroy -f "$file" --yes >/dev/null
	watching
	# shellcheck disable=SC2059
	printf "$row" "$n" "$attach" "$apply" "$list" "$gc" "$doctor" "$again" "$memory" "$fdb"
	gopipework destroy -f "$file" --yes >/dev/null
	for ((i = 0; i < n; i++)); do ip netns del "g$n-$i"; done
done
