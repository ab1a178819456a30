#!/bin/sh
# Installs the Debian packages that a verb of the Makefile needs and that are not there yet.
set -eu
build="ca-certificates curl e2fsprogs gcc git iproute2 libc6-dev libseccomp-dev mmdebstrap pkg-config xz-utils zip"
case "$1" in
build) want="$build" ;;
test) want="$build bundler mariadb-client-core mariadb-server-core nftables postgresql-15 procps ruby sqlite3 systemd" ;;
bench) want="$build haproxy nginx-light wrk" ;;
*) echo "usage: packages.sh build|test|bench" >&2; exit 2 ;;
esac
command -v npm >/dev/null || want="$want npm" # fetches Node.js for the nodejs buildpack; any npm will do
missing=
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "packages are missing and only root can install them:$missing" >&2; exit 1; }
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A package that starts a service must not take the ports of this machine.
stop=/usr/sbin/policy-rc.d
if [ ! -e $stop ]; then
	trap 'rm -f $stop' EXIT
	printf '#!/bin/sh\nexit 101\n' >$stop
	chmod +x $stop
fi
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing
