-- +goose Up
CREATE INDEX IF NOT EXISTS route_routes_created ON route_routes (created_at);
CREATE INDEX IF NOT EXISTS route_routes_port ON route_routes (port);
CREATE INDEX IF NOT EXISTS route_domains_created ON route_domains (created_at);
