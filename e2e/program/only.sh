# Sourced with a directory that install.sh --links has made: from here on a script
# finds the programs of programs.txt and no others, on every machine.
export PATH=$1
command_not_found_handle() {
	echo "$1: no such program: list it in e2e/program/programs.txt, with the Debian package that brings it, and run e2e/install.sh" >&2
	kill -TERM $$ # "|| true" must not hide it
	return 127
}
export -f command_not_found_handle
