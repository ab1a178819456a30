#!/bin/sh
# Pushes the example with the official cf unless it answers already, prints how to log in, and ends with its URL.
set -eu
cd "$(dirname "$0")/.."
url=https://node-express.apps.ingot.test
answers() { [ "$(curl -sk -o /dev/null -m 5 -w '%{http_code}' $url)" = 200 ]; }
if ! answers; then
	. tools/login.sh
	if cf app node-express >/dev/null 2>&1; then # stopped by `ingot down`: it comes up by itself
		timeout 60 sh -c "until curl -skf -o /dev/null -m 5 $url; do sleep 0.2; done" || true
	fi
	answers || cf push -f examples/node-express/manifest.yml
	answers || { echo "$url does not answer 200" >&2; exit 1; }
fi
echo
echo "log in:  PATH=\$PWD/bin:\$PATH; \$(ingot credentials)"
echo "then:    cf target -o ingot -s dev"
echo "trust:   ingot ca > ingot-ca.pem   (or use curl -k)"
echo "app $url"
