-- +goose Up
CREATE TABLE IF NOT EXISTS app_apps (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, name_key $name NOT NULL, space_guid $guid NOT NULL, state $word NOT NULL,
  lifecycle $word NOT NULL, buildpacks $json, stack $name NOT NULL, env $json, droplet_guid $guid NOT NULL,
  ssh_enabled $bool NOT NULL, revisions_enabled $bool NOT NULL,
  UNIQUE (guid), UNIQUE (space_guid, name_key)
) $options;
CREATE TABLE IF NOT EXISTS app_processes (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, type $name NOT NULL, version $guid NOT NULL,
  command $text, detected_command $text, run_user $name NOT NULL, instances $int NOT NULL, memory_mb $int NOT NULL, disk_mb $int NOT NULL,
  log_rate $int NOT NULL, health_type $word NOT NULL, health_endpoint $name NOT NULL, health_timeout $int NOT NULL,
  health_invocation $int NOT NULL, health_interval $int NOT NULL, readiness_type $word NOT NULL,
  readiness_endpoint $name NOT NULL, readiness_invocation $int NOT NULL, readiness_interval $int NOT NULL,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS app_sidecars (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, name $name NOT NULL, command $text, process_types $json,
  memory_mb $int NOT NULL, origin $word NOT NULL,
  UNIQUE (guid), UNIQUE (app_guid, name)
) $options;
CREATE TABLE IF NOT EXISTS app_deployments (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, state $word NOT NULL, status_value $word NOT NULL,
  status_reason $word NOT NULL, strategy $word NOT NULL,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS app_deployments_app ON app_deployments (app_guid);
CREATE INDEX IF NOT EXISTS app_apps_name ON app_apps (name_key);
CREATE INDEX IF NOT EXISTS app_apps_created ON app_apps (created_at);
CREATE INDEX IF NOT EXISTS app_processes_app ON app_processes (app_guid, type);
CREATE INDEX IF NOT EXISTS app_processes_space ON app_processes (space_guid);
