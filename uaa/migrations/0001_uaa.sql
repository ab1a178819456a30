-- +goose Up
CREATE TABLE IF NOT EXISTS uaa_users (
  guid $guid PRIMARY KEY,
  username $name NOT NULL,
  username_key $name NOT NULL,
  origin $name NOT NULL,
  external_id $name NOT NULL,
  email $name NOT NULL,
  given_name $name NOT NULL,
  family_name $name NOT NULL,
  password $text NOT NULL,
  active $bool NOT NULL,
  verified $bool NOT NULL,
  version $int NOT NULL,
  created_at $time NOT NULL,
  updated_at $time NOT NULL,
  password_changed_at $time NOT NULL,
  UNIQUE (username_key, origin)
) $options;
CREATE TABLE IF NOT EXISTS uaa_groups (
  guid $guid PRIMARY KEY,
  name $name NOT NULL UNIQUE,
  created_at $time NOT NULL
) $options;
CREATE TABLE IF NOT EXISTS uaa_members (
  user_guid $guid NOT NULL,
  group_name $name NOT NULL,
  PRIMARY KEY (user_guid, group_name)
) $options;
CREATE TABLE IF NOT EXISTS uaa_clients (
  id $name PRIMARY KEY,
  secret $text NOT NULL,
  grants $json NOT NULL,
  scopes $json NOT NULL,
  authorities $json NOT NULL,
  access_seconds $int NOT NULL,
  refresh_seconds $int NOT NULL,
  updated_at $time NOT NULL
) $options;
CREATE TABLE IF NOT EXISTS uaa_chains (
  guid $guid PRIMARY KEY,
  user_guid $guid NOT NULL,
  client_id $name NOT NULL,
  scopes $json NOT NULL,
  auth_time $time NOT NULL,
  rev_sig $guid NOT NULL,
  expires_at $time NOT NULL
) $options;
CREATE TABLE IF NOT EXISTS uaa_refresh_tokens (
  chain $guid NOT NULL,
  hash $guid NOT NULL,
  parent $guid NOT NULL,
  replaced_at $time NOT NULL,
  spent $bool NOT NULL,
  PRIMARY KEY (chain, hash)
) $options;
CREATE TABLE IF NOT EXISTS uaa_attempts (
  guid $guid PRIMARY KEY,
  failures $int NOT NULL,
  failed_at $time NOT NULL,
  locked_until $time NOT NULL
) $options;
CREATE TABLE IF NOT EXISTS uaa_revoked (
  jti $guid PRIMARY KEY,
  expires_at $time NOT NULL
) $options;
