-- +goose Up
CREATE TABLE IF NOT EXISTS services_instances (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, space_guid $guid NOT NULL, tags $json, credentials $text, syslog_drain_url $text, route_service_url $text,
  updated $bool NOT NULL,
  UNIQUE (guid), UNIQUE (space_guid, name)
) $options;
CREATE TABLE IF NOT EXISTS services_bindings (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, app_guid $guid NOT NULL, instance_guid $guid NOT NULL, space_guid $guid NOT NULL,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS services_instances_name ON services_instances (name);
CREATE INDEX IF NOT EXISTS services_bindings_app ON services_bindings (app_guid, instance_guid);
CREATE INDEX IF NOT EXISTS services_bindings_instance ON services_bindings (instance_guid);
CREATE INDEX IF NOT EXISTS services_bindings_space ON services_bindings (space_guid);
