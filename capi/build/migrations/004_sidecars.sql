-- +goose Up
ALTER TABLE build_droplets ADD COLUMN $once sidecars $json;
