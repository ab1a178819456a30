-- +goose Up
CREATE INDEX IF NOT EXISTS app_apps_stack ON app_apps (stack);
CREATE INDEX IF NOT EXISTS app_processes_created ON app_processes (created_at);
CREATE INDEX IF NOT EXISTS app_deployments_created ON app_deployments (created_at);
CREATE INDEX IF NOT EXISTS app_deployments_space ON app_deployments (space_guid);
