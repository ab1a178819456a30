-- +goose Up
CREATE INDEX IF NOT EXISTS build_packages_space ON build_packages (space_guid);
CREATE INDEX IF NOT EXISTS build_packages_created ON build_packages (created_at);
CREATE INDEX IF NOT EXISTS build_builds_space ON build_builds (space_guid);
CREATE INDEX IF NOT EXISTS build_builds_package ON build_builds (package_guid);
CREATE INDEX IF NOT EXISTS build_builds_created ON build_builds (created_at);
CREATE INDEX IF NOT EXISTS build_droplets_space ON build_droplets (space_guid);
CREATE INDEX IF NOT EXISTS build_droplets_created ON build_droplets (created_at);
