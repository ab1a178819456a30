-- +goose Up
DROP TABLE IF EXISTS capi_organization_quotas;
