-- +goose Up
CREATE TABLE IF NOT EXISTS capi_security_groups (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  name $name NOT NULL, rules $json, running $bool NOT NULL, staging $bool NOT NULL,
  UNIQUE (guid), UNIQUE (name)
) $options;
