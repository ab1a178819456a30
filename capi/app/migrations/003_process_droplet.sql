-- +goose Up
ALTER TABLE app_processes ADD COLUMN droplet_guid $guid NOT NULL DEFAULT '';
