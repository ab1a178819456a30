-- +goose Up
CREATE INDEX IF NOT EXISTS rest_events_seen ON rest_events (org_guid, created_at, space_guid);
DROP INDEX IF EXISTS rest_events_org /*! ON rest_events */;
