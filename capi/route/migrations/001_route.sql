-- +goose Up
CREATE TABLE IF NOT EXISTS route_domains (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, internal $bool NOT NULL, org_guid $guid NOT NULL,
  UNIQUE (guid), UNIQUE (name)
) $options;
CREATE TABLE IF NOT EXISTS route_routes (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  host $word NOT NULL, host_key $word NOT NULL, path $name NOT NULL, port $int NOT NULL,
  domain_guid $guid NOT NULL, domain_name $name NOT NULL, space_guid $guid NOT NULL, options $json,
  UNIQUE (guid), UNIQUE (domain_guid, host_key, path, port)
) $options;
CREATE TABLE IF NOT EXISTS route_destinations (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL,
  route_guid $guid NOT NULL, app_guid $guid NOT NULL, process_type $name NOT NULL, port $int NOT NULL,
  protocol $word NOT NULL, weight $int NOT NULL,
  UNIQUE (guid), UNIQUE (route_guid, app_guid, process_type, port)
) $options;
CREATE INDEX IF NOT EXISTS route_domains_org ON route_domains (org_guid);
CREATE INDEX IF NOT EXISTS route_routes_space ON route_routes (space_guid);
CREATE INDEX IF NOT EXISTS route_routes_host ON route_routes (host_key);
CREATE INDEX IF NOT EXISTS route_destinations_app ON route_destinations (app_guid);
