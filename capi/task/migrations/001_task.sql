-- +goose Up
CREATE TABLE IF NOT EXISTS task_tasks (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  app_guid $guid NOT NULL, space_guid $guid NOT NULL, sequence_id $int NOT NULL, name $name NOT NULL, state $word NOT NULL,
  command $text, run_user $name NOT NULL, memory_mb $int NOT NULL, disk_mb $int NOT NULL, log_rate $int NOT NULL,
  droplet_guid $guid NOT NULL, failure_reason $text,
  UNIQUE (guid), UNIQUE (app_guid, sequence_id)
) $options;
CREATE TABLE IF NOT EXISTS task_sequences (app_guid $guid PRIMARY KEY, last_id $int NOT NULL) $options;
CREATE INDEX IF NOT EXISTS task_tasks_state ON task_tasks (state);
CREATE INDEX IF NOT EXISTS task_tasks_space ON task_tasks (space_guid, state);
CREATE INDEX IF NOT EXISTS task_tasks_name ON task_tasks (name);
CREATE INDEX IF NOT EXISTS task_tasks_created ON task_tasks (created_at);
