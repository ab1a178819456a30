-- +goose Up
ALTER TABLE app_processes ADD COLUMN $once droplet_guid $guid NOT NULL DEFAULT '';
