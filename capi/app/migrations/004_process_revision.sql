-- +goose Up
ALTER TABLE app_processes ADD COLUMN revision_guid $guid NOT NULL DEFAULT '';
