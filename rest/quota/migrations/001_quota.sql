-- +goose Up
CREATE TABLE IF NOT EXISTS rest_quotas (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  name $name NOT NULL, name_key $name NOT NULL, org_guid $guid NOT NULL, limits $json,
  UNIQUE (guid), UNIQUE (org_guid, name_key)
) $options;
