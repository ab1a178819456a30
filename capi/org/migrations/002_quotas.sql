-- +goose Up
INSERT INTO rest_quotas (guid, created_at, updated_at, name, name_key, org_guid, limits)
  SELECT guid, created_at, updated_at, name, name_key, '', limits FROM capi_organization_quotas
  WHERE guid NOT IN (SELECT guid FROM rest_quotas);
CREATE TABLE IF NOT EXISTS capi_isolation_segments (
  id $serial, guid $guid NOT NULL, created_at $time NOT NULL, updated_at $time NOT NULL, metadata $json,
  name $name NOT NULL, name_key $name NOT NULL,
  UNIQUE (guid), UNIQUE (name_key)
) $options;
CREATE TABLE IF NOT EXISTS capi_isolation_entitlements (
  segment_guid $guid NOT NULL, org_guid $guid NOT NULL,
  PRIMARY KEY (segment_guid, org_guid)
) $options;
