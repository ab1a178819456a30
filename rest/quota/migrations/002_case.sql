-- +goose Up
UPDATE rest_quotas SET name_key = name WHERE org_guid <> '';
