package sql

import (
	"errors"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for dsn, want := range map[string]Engine{
		"/var/x.db": SQLite, "": SQLite, "postgres://a:b@h/d": Postgres, "postgresql://h:1/d?x=y": Postgres, "mysql://a@h:1/d": MySQL,
		"postgres://a@/d?host=/run": Postgres, "mysql://a@/d?socket=/run/s": MySQL,
	} {
		if e, err := EngineOf(dsn); err != nil || e != want {
			t.Errorf("%s: %s %v", dsn, e, err)
		}
	}
	for _, dsn := range []string{"oracle://me:hunter2@h/d", "postgres://me:hunter2@h:port/d", "mysql://me:hunter2@h", "postgres://me:hunter2@h/", "mysql://me:hunter2@/d", "postgres://me:hun%zzter2@h/d"} {
		if _, err := EngineOf(dsn); err == nil || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v", dsn, err)
		}
		if _, err := Open(t.Context(), dsn); err == nil || strings.Contains(err.Error(), "ter2") {
			t.Errorf("open %s: %v", dsn, err)
		}
	}
	if p := Public("postgres://me:hunter2@h:1/d?password=hunter2"); p != " on h:1/d" {
		t.Errorf("public part %q", p)
	}
	for _, dsn := range []string{"mysql://me:hun%2Fter@h/d", "mysql://h/d?password=hun%2Fter"} {
		for _, text := range []string{"dial hun/ter", "dial hun%2Fter"} {
			if err := withoutPassword(errors.New(text), dsn); err.Error() != "dial xxxxx" {
				t.Errorf("%s: %v", dsn, err)
			}
		}
	}
}
