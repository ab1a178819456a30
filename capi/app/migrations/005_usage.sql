-- +goose Up
ALTER TABLE app_processes ADD COLUMN $once used_state $word NOT NULL DEFAULT '';
ALTER TABLE app_processes ADD COLUMN $once used_instances $int NOT NULL DEFAULT 0;
ALTER TABLE app_processes ADD COLUMN $once used_memory_mb $int NOT NULL DEFAULT 0;
