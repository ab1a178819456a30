-- +goose Up
ALTER TABLE build_packages RENAME COLUMN $again "blob" TO blob_key;
ALTER TABLE build_droplets RENAME COLUMN $again "blob" TO blob_key;
