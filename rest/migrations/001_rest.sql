-- +goose Up
CREATE TABLE IF NOT EXISTS rest_organizations (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, name_key $name NOT NULL, status $word NOT NULL, deleting $bool NOT NULL, quota_guid $guid NOT NULL,
  isolation_segment_guid $guid NOT NULL,
  UNIQUE (guid), UNIQUE (name_key)
) $options;
CREATE TABLE IF NOT EXISTS rest_spaces (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, name_key $name NOT NULL, org_guid $guid NOT NULL, status $word NOT NULL, deleting $bool NOT NULL,
  allow_ssh $bool NOT NULL, quota_guid $guid NOT NULL, isolation_segment_guid $guid NOT NULL,
  UNIQUE (guid), UNIQUE (org_guid, name_key)
) $options;
CREATE TABLE IF NOT EXISTS rest_users (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  type $word NOT NULL,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS rest_roles (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  type $word NOT NULL, user_guid $guid NOT NULL, org_guid $guid NOT NULL, space_guid $guid NOT NULL,
  UNIQUE (guid), UNIQUE (user_guid, type, org_guid, space_guid)
) $options;
CREATE TABLE IF NOT EXISTS rest_labels (
  resource_guid $guid NOT NULL, key_prefix $name NOT NULL, key_name $word NOT NULL, value $word NOT NULL,
  PRIMARY KEY (resource_guid, key_prefix, key_name)
) $options;
CREATE TABLE IF NOT EXISTS rest_feature_flags (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  enabled $bool NOT NULL, error_message $text,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS rest_jobs (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  operation $word NOT NULL, state $word NOT NULL, resource_type $word NOT NULL, resource_guid $guid NOT NULL,
  payload $json, caller $json, errors $json, warnings $json,
  holder $guid NOT NULL, lease $time NOT NULL, tries $int NOT NULL,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS rest_events (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  type $word NOT NULL, actor_guid $guid NOT NULL, actor_type $word NOT NULL, actor_name $text,
  target_guid $guid NOT NULL, target_type $word NOT NULL, target_name $text,
  org_guid $guid NOT NULL, space_guid $guid NOT NULL, data $json,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS rest_spaces_org ON rest_spaces (org_guid);
CREATE INDEX IF NOT EXISTS rest_spaces_name ON rest_spaces (name_key);
CREATE INDEX IF NOT EXISTS rest_roles_org ON rest_roles (org_guid, user_guid);
CREATE INDEX IF NOT EXISTS rest_roles_space ON rest_roles (space_guid, user_guid);
CREATE INDEX IF NOT EXISTS rest_labels_key ON rest_labels (key_name, value, resource_guid);
CREATE INDEX IF NOT EXISTS rest_jobs_state ON rest_jobs (state, lease);
CREATE INDEX IF NOT EXISTS rest_jobs_resource ON rest_jobs (resource_guid);
CREATE INDEX IF NOT EXISTS rest_events_created ON rest_events (created_at);
CREATE INDEX IF NOT EXISTS rest_events_target ON rest_events (target_guid, created_at);
CREATE INDEX IF NOT EXISTS rest_events_space ON rest_events (space_guid, created_at);
CREATE INDEX IF NOT EXISTS rest_events_org ON rest_events (org_guid, created_at);
CREATE INDEX IF NOT EXISTS rest_events_type ON rest_events (type, created_at);
