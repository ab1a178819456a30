-- +goose Up
CREATE INDEX IF NOT EXISTS services_instances_created ON services_instances (created_at);
CREATE INDEX IF NOT EXISTS services_bindings_created ON services_bindings (created_at);
CREATE INDEX IF NOT EXISTS services_bindings_name ON services_bindings (name);
