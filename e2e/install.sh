#!/bin/bash
# Installs what the tests, the demo and the bench need and this machine lacks:
# Debian and Ubuntu packages, and only for commands that are not there. Words on
# its line ask for more: engines, kernels.
set -euo pipefail

declare -A package=(
	[dockerd]=docker.io [containerd]=containerd [runc]=runc
	[iptables]=iptables [ip]=iproute2 [bridge]=iproute2 [tc]=iproute2 [ss]=iproute2
	[busybox]=busybox-static [nsenter]=util-linux [unshare]=util-linux [setpriv]=util-linux
	[ps]=procps [modprobe]=kmod [grep]=grep [sed]=sed
)

# What only some need: the engines and the Open vSwitch of the tests, the kernel of
# make kernels.
for extra in "$@"; do
	case $extra in
	engines) package+=([podman]=podman [lxc-create]=lxc [systemd-nspawn]=systemd-container [dbus-daemon]=dbus [newuidmap]=uidmap [ovs-vswitchd]=openvswitch-switch [iperf3]=iperf3
		[dnsmasq]=dnsmasq-base [radvd]=radvd [udhcpc]=udhcpc [dhclient]=isc-dhcp-client [dhcpcd]=dhcpcd5) ;;
	kernels) package+=([linux.uml]=user-mode-linux [tcc]=tcc [depmod]=kmod [ovs-vswitchd]=openvswitch-switch) ;;
	esac
done

install_packages() {
	export DEBIAN_FRONTEND=noninteractive
	# A package that brings a daemon starts it; ours run on hosts of their own.
	local policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
	fi
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=()
for command in "${!package[@]}"; do
	command -v "$command" >/dev/null || missing+=("${package[$command]}")
done
# The client is a package of its own on newer releases.
if ! command -v docker >/dev/null; then
	missing+=(docker.io)
fi
if ((${#missing[@]} > 0)); then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	echo "installing: ${missing[*]}"
	if [[ $(id -u) != 0 ]]; then
		echo "this needs root" >&2
		exit 1
	fi
	if ! command -v apt-get >/dev/null; then
		echo "no apt-get here: install these by hand" >&2
		exit 1
	fi
	install_packages "${missing[@]}"
fi
if ! command -v docker >/dev/null; then
	install_packages docker-cli
fi
