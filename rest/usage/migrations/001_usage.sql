-- +goose Up
CREATE TABLE IF NOT EXISTS rest_app_usage (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  state $word NOT NULL, was_state $word NOT NULL, app_guid $guid NOT NULL, app_name $name NOT NULL,
  process_guid $guid NOT NULL, process_type $name NOT NULL, task_guid $guid NOT NULL, task_name $name NOT NULL,
  org_guid $guid NOT NULL, space_guid $guid NOT NULL, space_name $name NOT NULL, buildpack_guid $guid NOT NULL, buildpack_name $text,
  instances $int NOT NULL, was_instances $int NOT NULL, memory_mb $int NOT NULL, was_memory_mb $int NOT NULL,
  UNIQUE (guid)
) $options;
CREATE TABLE IF NOT EXISTS rest_service_usage (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, state $word NOT NULL,
  org_guid $guid NOT NULL, space_guid $guid NOT NULL, space_name $name NOT NULL,
  instance_guid $guid NOT NULL, instance_name $name NOT NULL, instance_type $word NOT NULL, plan_guid $guid NOT NULL, plan_name $name NOT NULL,
  offering_guid $guid NOT NULL, offering_name $name NOT NULL, broker_guid $guid NOT NULL, broker_name $name NOT NULL,
  UNIQUE (guid)
) $options;
CREATE INDEX IF NOT EXISTS rest_app_usage_task ON rest_app_usage (task_guid, state);
CREATE INDEX IF NOT EXISTS rest_app_usage_created ON rest_app_usage (created_at);
CREATE INDEX IF NOT EXISTS rest_service_usage_created ON rest_service_usage (created_at);
CREATE INDEX IF NOT EXISTS rest_service_usage_type ON rest_service_usage (instance_type);
CREATE INDEX IF NOT EXISTS rest_service_usage_offering ON rest_service_usage (offering_guid);
