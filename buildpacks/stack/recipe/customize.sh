#!/bin/sh
# Makes a Debian root ($1) serve as cflinuxfs4. Runs outside the root, after all packages are installed.
set -eu
root=$1

chroot "$root" groupadd --gid 2000 vcap
chroot "$root" useradd --uid 2000 --gid 2000 --home-dir /home/vcap --create-home --skel /nonexistent --shell /bin/bash vcap

# Buildpacks and tests ask lsb-release which stack they are on; DESCRIPTION tells a reader the truth.
cat >"$root/etc/lsb-release" <<'END'
DISTRIB_ID=Debian
DISTRIB_RELEASE=22.04
DISTRIB_CODENAME=jammy
DISTRIB_DESCRIPTION="Debian 12 made to serve as cflinuxfs4"
END

echo 'en_US.UTF-8 UTF-8' >"$root/etc/locale.gen"
chroot "$root" locale-gen >/dev/null
echo 'LANG=en_US.UTF-8' >"$root/etc/default/locale"

# The CAs that this machine's operator trusts beyond Debian's.
if [ -d "${EXTRA_CAS:-/nonexistent}" ]; then
	cp "$EXTRA_CAS"/*.crt "$root/usr/local/share/ca-certificates/"
	chroot "$root" update-ca-certificates >/dev/null
fi

# Containers get their own; these are the places to mount them on.
for f in hosts hostname resolv.conf; do
	rm -f "$root/etc/$f"
	: >"$root/etc/$f"
done

# The builder's apt settings may name its proxy.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"

# Nothing runs these, and they differ from build to build.
rm -rf "$root"/var/log/* "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
	"$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- "$root"/etc/gshadow- \
	"$root"/etc/ssl/private/ssl-cert-snakeoil.key "$root"/etc/ssh/ssh_host_*

# nginx as vcap: its default folders, and its default log where the platform reads.
mkdir -p "$root/var/log/nginx" "$root/var/lib/nginx"
ln -s /dev/stdout "$root/var/log/nginx/access.log"
chown -R 2000:2000 "$root/var/log/nginx" "$root/var/lib/nginx"

# Large and of no use to an app: static twins of shared libraries, sanitizers, a debugging aid of the compiler, the
# sources of locales.
lib=$root/usr/lib/x86_64-linux-gnu
rm -f "$root"/usr/lib/python3.11/config-*/libpython*.a "$lib"/libicu*.a "$lib"/libcrypto.a "$lib"/libssl.a "$lib"/libxml2.a \
	"$lib"/libsqlite3.a "$lib"/libcurl.a "$lib"/lib[alt]san.* "$lib"/libubsan.* "$root"/usr/lib/gcc/x86_64-linux-gnu/12/lib*san*.a \
	"$root"/usr/bin/*lto-dump*
rm -rf "$root/usr/share/i18n"
