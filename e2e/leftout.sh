#!/bin/bash
# Fails if a test ran on no kernel, and names it; leftout.txt says which tests may be
# left out, and why.
#
#	leftout.sh FILE [LIST]
#
# FILE tells what was skipped on this kernel, a line "package TAB test TAB why", and
# FILE.ran what passed on that of kernels.sh. LIST is another leftout.txt.
set -euo pipefail
list=${2:-$(dirname "${BASH_SOURCE[0]}")/leftout.txt}
touch "$1" "$1.ran"
left=$(awk -F '\t' 'FILENAME == ARGV[1] { ran[$1, $2]; next } !(($1, $2) in ran)' "$1.ran" "$1" | sort -u)
rm -f "$1.ran"
status=0
while IFS=$'\t' read -r package test why; do
	[[ -n $package ]] || continue
	if excuse=$(awk -v p="$package" -v t="$test" '$1 == p && $2 == t { $1 = $2 = ""; print substr($0, 3); ok = 1 } END { exit !ok }' "$list"); then
		echo "left out, as e2e/leftout.txt allows: $package $test: $excuse"
	else
		echo "left out on every kernel: $package $test: $why" >&2
		status=1
	fi
done <<<"$left"
exit $status
