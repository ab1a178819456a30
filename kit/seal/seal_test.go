package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSealAndOpen(t *testing.T) {
	k := New()
	at := Place{"apps", "a", "env"}
	box, err := k.Seal(at, []byte("canary"))
	if err != nil || strings.Contains(string(box), "canary") || box.Label() != k.Newest() {
		t.Fatalf("%s %v", box, err)
	}
	if again, _ := k.Seal(at, []byte("canary")); again == box {
		t.Error("the same box twice: no nonce")
	}
	if b, err := k.Open(at, box); err != nil || string(b) != "canary" {
		t.Errorf("opened %q, %v", b, err)
	}
	for _, other := range []Place{{"appz", "a", "env"}, {"apps", "b", "env"}, {"apps", "a", "vars"}, {"app", "sa", "env"}} {
		if _, err := k.Open(other, box); !errors.Is(err, ErrBroken) {
			t.Errorf("opened at %v: %v", other, err)
		}
	}
	last := string(box[len(box)-2])
	changed := string(box[:len(box)-2]) + map[bool]string{true: "B", false: "A"}[last == "A"] + string(box[len(box)-1:])
	for _, bad := range []string{changed, "plain", `{"a":"b"}`, Prefix, Prefix + k.Newest() + ":", Prefix + k.Newest() + ":%%%"} {
		if b, err := k.Open(at, Box(bad)); !errors.Is(err, ErrBroken) {
			t.Errorf("opened %s: %q %v", bad, b, err)
		}
	}
	if _, err := New().Open(at, box); !errors.Is(err, ErrNoKey) {
		t.Errorf("opened without its key: %v", err)
	}
	if b, err := k.Open(at, ""); err != nil || b != nil {
		t.Errorf("nothing: %q %v", b, err)
	}
	var none *Keys
	if _, err := none.Seal(at, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("sealed without keys: %v", err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "seal.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	k, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	at := Place{"t", "g", "c"}
	old, _ := k.Seal(at, []byte("x"))
	first := k.Newest()
	second, err := k.Rotate()
	if err != nil || k.Newest() != second || second == first {
		t.Fatalf("rotate: %s %v", second, err)
	}
	again, err := Load(path)
	if err != nil || again.Newest() != second {
		t.Fatalf("read again: %v", err)
	}
	if b, err := again.Open(at, old); err != nil || string(b) != "x" {
		t.Errorf("with the older key: %q %v", b, err)
	}
	l := again.List()
	if len(l) != 2 || l[0].Secret != nil || l[0].Retired.IsZero() || !l[1].Retired.IsZero() || l[1].Made.IsZero() {
		t.Errorf("list %v", l)
	}
	if err := again.Drop(second); err == nil {
		t.Error("dropped the newest key")
	}
	if err := again.Drop("none"); err == nil {
		t.Error("dropped an unknown key")
	}
	if err := again.Drop(first); err != nil || len(again.List()) != 1 {
		t.Errorf("drop: %v", err)
	}
	if _, err := again.Open(at, old); !errors.Is(err, ErrNoKey) {
		t.Errorf("opened with a dropped key: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	for text, mode := range map[string]os.FileMode{
		"": 0o600, "{}": 0o600, "canary": 0o600, `{"keys":[{"label":"a","secret":"Y2FuYXJ5"}]}`: 0o600,
		`{"keys":[{"label":"A%","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`:                    0o600,
		`{"keys":[{"label":"a","secret":"canary-canary"}]}`:                                                    0o600,
		`{"keys":[{"label":"a","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","made_at":"canary"}]} `: 0o600,
		`{"keys":[{"label":"a","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`:                     0o640,
	} {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), path) {
			t.Errorf("%q %o: %v", text, mode, err)
		}
	}
}

func TestPrintsNoKey(t *testing.T) {
	k := New()
	secret := k.all[0].Secret
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %s", k.all[0], k.all[0], k.all[0], k.all[0]), fmt.Sprintf("%v %+v", k.all, &k.all[0])} {
		if strings.Contains(s, fmt.Sprintf("%d %d", secret[0], secret[1])) || strings.Contains(s, fmt.Sprintf("%x", secret[:4])) {
			t.Errorf("printed %s", s)
		}
	}
	b, err := json.Marshal(k.List())
	if err != nil || !strings.Contains(string(b), `"secret":null`) {
		t.Errorf("%s %v", b, err)
	}
}

// BenchmarkOpen is an app's environment of 1 KiB.
func BenchmarkOpen(b *testing.B) {
	k := New()
	at := Place{"apps", "a", "env"}
	box, err := k.Seal(at, make([]byte, 1024))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Open(at, box); err != nil {
			b.Fatal(err)
		}
	}
}
