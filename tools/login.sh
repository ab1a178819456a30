# To be sourced in the repository's folder: gives a folder $scratch that goes with the shell, and logs the official cf in, as the admin of
# the Ingot that runs here, with an org and a space. Who has set CF_HOME is logged in already.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ -z "${CF_HOME:-}" ]; then
	CF_HOME=$scratch
	export CF_HOME
	PATH=$PWD/bin:$PATH
	field() { ingot credentials --json | sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p"; }
	cf api "$(field api)" --skip-ssl-validation >/dev/null
	CF_USERNAME=$(field username) CF_PASSWORD=$(field password) cf auth >/dev/null
	cf create-org ingot >/dev/null
	cf create-space dev -o ingot >/dev/null
	cf target -o ingot -s dev >/dev/null
fi
