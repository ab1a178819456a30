-- +goose Up
ALTER TABLE app_processes ADD COLUMN $once revision_guid $guid NOT NULL DEFAULT '';
