#!/bin/sh
# Pushes every example with the official cf by its own manifest, and asks it for its greeting: one line each, and an error at the end
# when one of them did not answer or was staged by another buildpack. Names of examples as arguments: only these.
set -eu
cd "$(dirname "$0")/.."
. tools/login.sh
log=$scratch/log
# Every kind of app: folder, buildpack, what it says.
all='static-site staticfile Hello from a static site
java-war java Hello from Java
ruby-rack ruby Hello from Ruby
node-express nodejs Hello from Express
go-module go Hello from Go
python-http python Hello from Python
php-hello php Hello from PHP
nginx-conf nginx Hello from nginx
go-binary binary Hello from '
failed=
while read -r name buildpack greeting; do
	case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
	start=$(date +%s)
	said='was not pushed'
	# A Makefile builds the program, a vendor.sh gathers what the app brings along.
	if (cd "examples/$name" && { [ ! -f Makefile ] || make -s app; } && { [ ! -x vendor.sh ] || ./vendor.sh; } && cf push) </dev/null >"$log" 2>&1; then
		said=$(curl -sk --retry 3 --retry-all-errors -m 20 "https://$name.apps.ingot.test/" | tr -s '\r\n' ' ') || true
	fi
	by=$(sed -n 's/^[[:space:]]*\([a-z_]*_buildpack\) .*/\1/p' "$log" | tail -1)
	printf '%-13s %-21s %3ss  %s\n' "$name" "${by:-?}" "$(($(date +%s) - start))" "$said"
	case $by:$said in
	"${buildpack}_buildpack:"*"$greeting"*) ;;
	*) failed="$failed $name"; sed 's/^/    /' "$log" ;;
	esac
done <<END
$all
END
[ -z "$failed" ] || { echo "not as expected:$failed" >&2; exit 1; }
