#!/bin/bash
# Builds what is given to others, for amd64 and arm64: packages, tarballs, images, a list of
# what is inside (SBOM) and checksums. The same commit gives the same bytes.
#
#	release.sh DIR [WORD...]   into DIR: deb, rpm, apk, archlinux, tar, image, sbom; all if
#	                           none is given
#
# ARCHES="amd64" builds for that one alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=$PWD

dist=${1:?DIR}
shift
mkdir -p "$dist"
dist=$(realpath "$dist")
for word; do
	case $word in
	deb | rpm | apk | archlinux | tar | image | sbom) ;;
	*) echo "release.sh: there is no $word to build" >&2; exit 2 ;;
	esac
done
words=" ${*:-deb rpm apk archlinux tar image sbom} "
wanted() { [[ $words == *" $1 "* ]]; }

# What the commit is called: 1.2.0 if it has the tag v1.2.0; else 14 commits after it, with
# its hash, as each kind of package writes what is newer than 1.2.0. Before the first tag
# it is so many commits after 0.0.0.
describe=$(git describe --tags --long --match 'v[0-9]*' 2>/dev/null) ||
	describe=v0.0.0-$(git rev-list --count HEAD)-g$(git rev-parse --short HEAD)
hash=${describe##*-}
since=${describe%-*}
since=${since##*-}
tag=${describe%-"$since"-"$hash"}
base=${tag#v}
if [[ -n $(git status --porcelain) ]]; then hash+=.dirty; fi
version() { # KIND
	local suffix=
	if ((since > 0)) || [[ $hash == *.dirty ]]; then
		case $1 in
		apk) suffix=_p$since ;;
		archlinux) suffix=.r$since.$hash ;;
		image) suffix=-$since.$hash ;; # a tag has no plus sign
		*) suffix=+$since.$hash ;;
		esac
	fi
	case $1 in # a version before the one it is named after: v1.2.0-rc1
	apk) base=${base/-/_} && echo "${base/_rc./_rc}$suffix" ;;
	archlinux) echo "${base/-/}$suffix" ;;
	image) echo "$base$suffix" ;;
	*) echo "${base/-/\~}$suffix" ;;
	esac
}

export CGO_ENABLED=0 TZ=UTC LC_ALL=C GOFLAGS=-buildvcs=false
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
MTIME=$(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
export SOURCE_DATE_EPOCH MTIME

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# tool builds for this machine what packaging/tools has, and runs it. Its go.sum has the
# checksums of all that it is made of.
tool() { # PACKAGE ARGS...
	local program=$work/tools/${1##*/}
	[[ -x $program ]] || (cd "$here/packaging/tools" && env -u GOARCH "${GO:-go}" build -o "$program" "$1")
	"$program" "${@:2}"
}

# stage lays out in DIR what "make install" installs under PREFIX.
stage() { # DIR PREFIX
	make --no-print-directory -s install VERSION="$(version tar)" DEST="$work/gopipework.$GOARCH" DESTDIR="$1" PREFIX="$2"
	gzip -9n "$1$2"/share/man/man*/*
}

# even makes the times, which no two builds share, that of the commit.
even() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }

cp -r packaging "$work"
even "$work/packaging"

for GOARCH in ${ARCHES:-amd64 arm64}; do
	export GOARCH
	for kind in deb rpm apk archlinux; do
		wanted "$kind" || continue
		root=$work/$kind.$GOARCH
		stage "$root" /usr
		mkdir -p "$root/etc/gopipework"
		case $kind in
		deb)
			mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
			cp LICENSE "$root/usr/share/doc/gopipework/copyright"
			;;
		apk)
			rm -r "$root/usr/lib"
			install -D -m 755 examples/gopipework.openrc "$root/etc/init.d/gopipework"
			sed -i 's|/usr/local|/usr|' "$root/etc/init.d/gopipework"
			;;
		esac
		even "$root"
		{
			cat packaging/nfpm.yaml
			find "$root" -type l -printf '  - {src: "%l", dst: "/%P", type: symlink}\n' -o \
				-type f -printf '  - {src: "%p", dst: "/%P"}\n' -o \
				-path '*/gopipework*' -printf '  - {dst: "/%P", type: dir}\n' | sort
		} >"$work/nfpm.yaml"
		mkdir -p "$work/made"
		(
			export PACKAGE_VERSION PACKAGE_ARCH=$GOARCH
			PACKAGE_VERSION=$(version "$kind")
			cd "$work"
			tool github.com/goreleaser/nfpm/v2/cmd/nfpm package --config "$work/nfpm.yaml" --packager "$kind" --target "$work/made"
		)
		for file in "$work"/made/*; do
			case $GOARCH:$file in
			amd64:*[_-]amd64.* | amd64:*[._-]x86_64.* | arm64:*[_-]arm64.* | arm64:*[._-]aarch64.*) mv "$file" "$dist" ;;
			*) echo "release.sh: ${file##*/} is not for $GOARCH" >&2; exit 1 ;;
			esac
		done
	done
	name=gopipework-$(version tar)-linux-$GOARCH
	if wanted tar; then
		stage "$work/tar.$GOARCH" /usr/local
		mv "$work/tar.$GOARCH/usr/local" "$work/$name"
		# Without directories: those below /usr/local are the host's own.
		(cd "$work" && find "$name" ! -type d | sort) |
			tar -C "$work" --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c -T - |
			gzip -9n >"$dist/$name.tar.gz"
	fi
	if wanted image; then
		make --no-print-directory -s build VERSION="$(version tar)" DEST="$work/gopipework.$GOARCH"
		(cd packaging/image && env -u GOARCH "${GO:-go}" run . -arch "$GOARCH" -version "$(version image)" -time "$MTIME" "$work/gopipework.$GOARCH" "$dist/$name-image.tar")
	fi
	if wanted sbom; then
		make --no-print-directory -s build VERSION="$(version tar)" DEST="$work/gopipework.$GOARCH"
		tool github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod bin -json -noserial -version "$(version tar)" -output "$work/sbom.json" "$work/gopipework.$GOARCH"
		# The time of the build is not of the commit.
		sed "s|\"timestamp\": \"[^\"]*\"|\"timestamp\": \"$MTIME\"|" "$work/sbom.json" >"$dist/$name.cdx.json"
	fi
done

cd "$dist"
find . -maxdepth 1 -type f -name 'gopipework*' -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS
