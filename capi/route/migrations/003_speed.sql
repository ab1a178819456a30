-- +goose Up
CREATE INDEX IF NOT EXISTS route_routes_created ON route_routes (created_at);
CREATE INDEX IF NOT EXISTS route_routes_port ON route_routes (port);
CREATE INDEX IF NOT EXISTS route_domains_created ON route_domains (created_at);
CREATE INDEX IF NOT EXISTS route_service_bindings_instance ON route_service_bindings (service_instance_guid);
CREATE INDEX IF NOT EXISTS route_service_bindings_space ON route_service_bindings (space_guid);
CREATE INDEX IF NOT EXISTS route_service_bindings_created ON route_service_bindings (created_at);
