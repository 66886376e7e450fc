#!/bin/bash
# Tries the installed engines, and a Docker Engine that is newer than Debian's,
# built from its Go module into a cache: four minutes or more the first time. It
# runs with the installed containerd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

moby=v2.0.0-beta.24 runc=v1.5.2
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gopipework/engine-$moby-$runc

# build makes the command of a module, in a module of its own.
build() {
	local module=$1 version=$2 package=$3 dir
	shift 3
	dir=$(mktemp -d)
	cat >"$dir/main.go" <<-END
		//go:build tools
		package tools
		import _ "$package"
	END
	(cd "$dir" && go mod init tools && go get "$module@$version" && go build -mod=mod "$@" -o "$cache/" "$package") || {
		rm -rf "$dir"
		return 1
	}
	rm -rf "$dir"
}

./e2e/install.sh engines race
GOPIPEWORK_REQUIRE=root,docker,ipv6,podman,lxc,containerd,machine go test -count=1 -v -run '^(TestEngines|TestEveryRuntime|TestLive(Podman|Containerd))$' ./e2e ./dockerutil
if [[ ! -x $cache/runc ]]; then
	mkdir -p "$cache"
	CGO_ENABLED=0 build github.com/moby/moby/v2 $moby github.com/moby/moby/v2/cmd/dockerd
	CGO_ENABLED=0 build github.com/moby/moby/v2 $moby github.com/moby/moby/v2/cmd/docker-proxy
	CGO_ENABLED=1 build github.com/opencontainers/runc $runc github.com/opencontainers/runc -tags 'netgo osusergo' -ldflags '-extldflags -static'
fi
GOPIPEWORK_ENGINE=$cache GOPIPEWORK_REQUIRE=root,docker,ipv6 go test -count=1 -v -run '^TestEngines$' ./e2e
