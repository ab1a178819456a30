-- +goose Up
CREATE INDEX IF NOT EXISTS rest_spaces_created ON rest_spaces (created_at);
CREATE INDEX IF NOT EXISTS rest_spaces_quota ON rest_spaces (quota_guid);
CREATE INDEX IF NOT EXISTS rest_users_created ON rest_users (created_at);
CREATE INDEX IF NOT EXISTS rest_roles_created ON rest_roles (created_at);
CREATE INDEX IF NOT EXISTS rest_events_typed ON rest_events (type, space_guid, org_guid);
