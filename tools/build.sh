#!/bin/sh
# Builds the programs that garden/linux embeds: runc (static, with libseccomp), the containerd shim and the container's
# init. Each is kept outside the tree under the digest of its recipe, so a second run only copies.
# Needs Go, gcc, pkg-config, libseccomp-dev and gzip.
set -eu
cd "$(dirname "$0")/.."
cache=${INGOT_CACHE:-/var/cache/ingot}/tools
out=$PWD/garden/linux/bin
mkdir -p "$cache" "$out"

# helper NAME FOLDER RECIPE-FILES -- go build arguments
helper() {
	name=$1 folder=$2
	shift 2
	recipe=
	while [ "$1" != -- ]; do
		recipe="$recipe $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # the list of files is meant to be split
	key=$({ go version; echo "$CGO_ENABLED $*"; pkg-config --modversion libseccomp; cat $recipe; } | sha256sum | cut -c1-32)
	if [ ! -f "$cache/$name-$key.gz" ]; then
		work=$(mktemp -d "$cache/.$name.XXXXXX")
		(cd "$folder" && go build -trimpath -o "$work/$name" "$@")
		gzip -9n "$work/$name"
		mv "$work/$name.gz" "$cache/$name-$key.gz"
		rmdir "$work"
	fi
	cmp -s "$cache/$name-$key.gz" "$out/$name.gz" || cp "$cache/$name-$key.gz" "$out/$name.gz"
}

export CGO_ENABLED=1
helper runc tools/runc tools/runc/go.mod tools/runc/go.sum -- \
	-tags 'seccomp netgo osusergo' -ldflags '-s -w -extldflags -static' github.com/opencontainers/runc
export CGO_ENABLED=0
helper shim . go.mod go.sum garden/linux/shim/main.go garden/linux/valve/valve.go -- -tags no_grpc -ldflags '-s -w' ./garden/linux/shim
helper init . garden/linux/init/main.go -- -ldflags '-s -w' ./garden/linux/init
