-- +goose Up
CREATE TABLE IF NOT EXISTS route_shared_domains (
  id $serial, domain_guid $guid NOT NULL, org_guid $guid NOT NULL, UNIQUE (domain_guid, org_guid)
) $options;
CREATE TABLE IF NOT EXISTS route_shared_routes (
  id $serial, route_guid $guid NOT NULL, space_guid $guid NOT NULL, UNIQUE (route_guid, space_guid)
) $options;
CREATE INDEX IF NOT EXISTS route_shared_domains_org ON route_shared_domains (org_guid);
CREATE INDEX IF NOT EXISTS route_shared_routes_space ON route_shared_routes (space_guid);
