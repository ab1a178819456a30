#!/bin/sh
# Fills vendor/cache with the gems of the Gemfile, and writes the Gemfile.lock, without a gem server: tally from gems/tally,
# rack and webrick from Debian's packages. Needs Debian 12 with ruby and bundler.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf vendor Gemfile.lock
mkdir -p vendor/cache
(cd gems/tally && gem build --quiet --output "$OLDPWD/vendor/cache/tally-1.0.0.gem" tally.gemspec)
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download ruby-rack ruby-webrick)
for p in "$work"/*.deb; do
	dpkg-deb -x "$p" "$work/root"
done
# What Debian installed as a gem, as a gem again: its files stand in a folder of its name.
ruby -rrubygems/package - "$work/root/usr/share/rubygems-integration/all" "$PWD/vendor/cache" <<'END'
from, to = ARGV
Dir["#{from}/specifications/*.gemspec"].each do |file|
  spec = Gem::Specification.load(file)
  Dir.chdir("#{from}/gems/#{spec.full_name}") do
    spec.files = Dir["**/*"].select { |f| File.file?(f) }
    spec.email = Array(spec.email).compact
    Gem::Package.build(spec, true, false, "#{to}/#{spec.full_name}.gem")
  end
end
END
# `bundle lock` does not look into vendor/cache.
ruby -rbundler - <<'END'
definition = Bundler::Definition.build("Gemfile", "Gemfile.lock", nil)
definition.resolve_with_cache!
definition.lock("Gemfile.lock")
END
ls vendor/cache
