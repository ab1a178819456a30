-- +goose Up
CREATE TABLE IF NOT EXISTS capi_stacks (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, description $text, state $word NOT NULL, state_reason $text, is_default $bool NOT NULL,
  UNIQUE (guid), UNIQUE (name)
) $options;
CREATE TABLE IF NOT EXISTS capi_buildpacks (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, stack $name NOT NULL, lifecycle $word NOT NULL, position $int NOT NULL,
  enabled $bool NOT NULL, locked $bool NOT NULL, filename $text, blob_key $text, sha256 $text,
  UNIQUE (guid), UNIQUE (name, stack, lifecycle)
) $options;
CREATE TABLE IF NOT EXISTS capi_env_groups (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  vars $json,
  UNIQUE (guid)
) $options;
