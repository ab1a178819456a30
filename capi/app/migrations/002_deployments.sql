-- +goose Up
DROP TABLE IF EXISTS app_deployments; -- nothing ever wrote into it
CREATE TABLE IF NOT EXISTS app_deployments (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, state $word NOT NULL, status_value $word NOT NULL,
  status_reason $word NOT NULL, status_changed_at $time NOT NULL, healthy_at $time NOT NULL, error $text,
  strategy $word NOT NULL, options $json, canary_step $int NOT NULL, original_instances $int NOT NULL,
  droplet_guid $guid NOT NULL, previous_droplet_guid $guid NOT NULL, revision_guid $guid NOT NULL,
  revision_version $int NOT NULL, process_guid $guid NOT NULL,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS app_deployments_of ON app_deployments (app_guid, status_value);
CREATE INDEX IF NOT EXISTS app_deployments_in ON app_deployments (state);
CREATE TABLE IF NOT EXISTS app_revisions (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, version $int NOT NULL, droplet_guid $guid NOT NULL,
  description $text, env $json, commands $json, sidecars $json,
  UNIQUE (guid), UNIQUE (app_guid, version)
) $options;
