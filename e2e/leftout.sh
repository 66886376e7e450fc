#!/bin/bash
# Says which tests ran on no kernel: FILE tells what was skipped on this one, a line
# "package TAB test TAB why", and FILE.ran what passed on that of kernels.sh.
set -euo pipefail
touch "$1" "$1.ran"
left=$(awk -F '\t' 'FILENAME == ARGV[1] { ran[$1, $2]; next } !(($1, $2) in ran)' "$1.ran" "$1")
rm -f "$1.ran"
[[ -z $left ]] || printf 'left out, on this kernel and on that of kernels.sh:\n%s\n' "$left"
