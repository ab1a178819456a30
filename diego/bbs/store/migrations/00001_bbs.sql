-- +goose Up
CREATE TABLE IF NOT EXISTS bbs_clock (id $int NOT NULL PRIMARY KEY, version $int NOT NULL) $options;
CREATE TABLE IF NOT EXISTS bbs_desired (
  guid $guid NOT NULL PRIMARY KEY,
  app $guid NOT NULL,
  body $json NOT NULL
) $options;
CREATE INDEX IF NOT EXISTS bbs_desired_app ON bbs_desired (app);
CREATE TABLE IF NOT EXISTS bbs_actual (
  lrp $guid NOT NULL,
  idx $int NOT NULL,
  app $guid NOT NULL,
  instance $guid NOT NULL,
  cell $guid NOT NULL,
  state $guid NOT NULL,
  due $time NOT NULL,
  body $json NOT NULL,
  PRIMARY KEY (lrp, idx)
) $options;
CREATE INDEX IF NOT EXISTS bbs_actual_app ON bbs_actual (app);
CREATE INDEX IF NOT EXISTS bbs_actual_instance ON bbs_actual (instance);
CREATE INDEX IF NOT EXISTS bbs_actual_cell ON bbs_actual (cell);
CREATE INDEX IF NOT EXISTS bbs_actual_state ON bbs_actual (state, due);
CREATE TABLE IF NOT EXISTS bbs_task (
  guid $guid NOT NULL PRIMARY KEY,
  cell $guid NOT NULL,
  state $guid NOT NULL,
  placed $time NOT NULL,
  created $time NOT NULL,
  completed $time NOT NULL,
  told $bool NOT NULL,
  body $json NOT NULL
) $options;
CREATE INDEX IF NOT EXISTS bbs_task_state ON bbs_task (state, told);
CREATE INDEX IF NOT EXISTS bbs_task_cell ON bbs_task (cell);
CREATE TABLE IF NOT EXISTS bbs_stop (
  guid $guid NOT NULL PRIMARY KEY,
  cell $guid NOT NULL,
  task $bool NOT NULL,
  body $json NOT NULL
) $options;
CREATE TABLE IF NOT EXISTS bbs_crash (
  guid $guid NOT NULL PRIMARY KEY,
  at $time NOT NULL,
  body $json NOT NULL
) $options;
