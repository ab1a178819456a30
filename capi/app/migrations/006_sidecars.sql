-- +goose Up
CREATE TABLE IF NOT EXISTS app_sidecar_types (
  sidecar_guid $guid NOT NULL, app_guid $guid NOT NULL, type $name NOT NULL,
  UNIQUE (sidecar_guid, type)
) $options;
CREATE INDEX IF NOT EXISTS app_sidecar_types_of ON app_sidecar_types (app_guid, type);
