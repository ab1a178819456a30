-- +goose Up
CREATE TABLE IF NOT EXISTS build_packages (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, type $word NOT NULL, state $word NOT NULL, error $text,
  "blob" $name NOT NULL, sha256 $name NOT NULL, size $int NOT NULL,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS build_builds (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, package_guid $guid NOT NULL, state $word NOT NULL,
  error_id $word NOT NULL, error_text $text, droplet_guid $guid NOT NULL, lifecycle $word NOT NULL,
  buildpacks $json, stack $name NOT NULL, memory_mb $int NOT NULL, disk_mb $int NOT NULL, log_rate $int NOT NULL,
  created_by $json,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS build_droplets (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, package_guid $guid NOT NULL, build_guid $guid NOT NULL,
  state $word NOT NULL, error $text, "blob" $name NOT NULL, sha256 $name NOT NULL, size $int NOT NULL,
  stack $name NOT NULL, process_types $json, buildpacks $json, execution_metadata $text,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS build_packages_app ON build_packages (app_guid, created_at);
CREATE INDEX IF NOT EXISTS build_packages_state ON build_packages (state);
CREATE INDEX IF NOT EXISTS build_packages_blob ON build_packages ("blob");
CREATE INDEX IF NOT EXISTS build_builds_app ON build_builds (app_guid, created_at);
CREATE INDEX IF NOT EXISTS build_builds_state ON build_builds (state);
CREATE INDEX IF NOT EXISTS build_droplets_app ON build_droplets (app_guid, created_at);
CREATE INDEX IF NOT EXISTS build_droplets_package ON build_droplets (package_guid);
CREATE INDEX IF NOT EXISTS build_droplets_blob ON build_droplets ("blob");
