-- +goose Up
CREATE TABLE IF NOT EXISTS capi_organization_quotas (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  name $name NOT NULL, name_key $name NOT NULL, limits $json,
  UNIQUE (guid), UNIQUE (name_key)
) $options;
