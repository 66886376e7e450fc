#!/bin/bash
# Installs what the tests, the demo and the bench need and this machine lacks:
# Debian packages, and only for programs that are not there. Which ones is written
# in program/programs.txt.
#
#	install.sh WORD...             for what the words ask: engines, kernels, race
#	install.sh --links DIR WORD... links to the programs, and to no others, in DIR
set -euo pipefail

links=
if [[ ${1:-} == --links ]]; then
	links=$2
	shift 2
fi
words=" given base $* "
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# What is asked for, a program a line: "package program".
mapfile -t wanted < <(while read -r who package programs; do
	[[ $who != '#'* && $words == *" $who "* ]] || continue
	for program in $programs; do echo "$package $program"; done
done <"$(dirname "${BASH_SOURCE[0]}")/program/programs.txt")

there() {
	if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

if [[ -n $links ]]; then
	mkdir -p "$links"
	for line in "${wanted[@]}"; do
		program=${line#* }
		[[ $program == /* ]] || ! there "$program" || ln -sf "$(type -P "$program")" "$links/$program"
	done
	# dash cannot be told what to say about a program that is not there (only.sh).
	ln -sf "$(type -P bash)" "$links/sh"
	exit
fi

# missing lists the packages of the programs that are not there.
missing() {
	local line
	for line in "${wanted[@]}"; do
		there "${line#* }" || echo "${line% *}"
	done | sort -u
}

mapfile -t packages < <(missing)
((${#packages[@]} > 0)) || exit 0
echo "installing: ${packages[*]}"
if [[ $(id -u) != 0 ]]; then
	echo "this needs root" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "no apt-get here: install these by hand" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# A package that brings a daemon starts it; ours run on hosts of their own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi
apt-get update -qq
# Releases cut some packages differently: the first one of a|b that this one has.
for i in "${!packages[@]}"; do
	for package in ${packages[i]//|/ }; do
		packages[i]=$package
		[[ -z $(apt-cache madison "$package") ]] || break
	done
done
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}" </dev/null
hash -r
for line in "${wanted[@]}"; do
	there "${line#* }" || { echo "package ${line% *} does not bring ${line#* }: mend e2e/program/programs.txt" >&2; exit 1; }
done
