package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"ingot/kit/file"
)

// Keys are the keys of a file; the newest seals, all open. Safe for concurrent use.
type Keys struct {
	path string // empty: in memory only

	mu  sync.RWMutex
	all []Key // the newest is the last
}

// Key is one of them.
type Key struct {
	Label   string    `json:"label"`
	Secret  []byte    `json:"secret"` // 32 bytes
	Made    time.Time `json:"made_at"`
	Retired time.Time `json:"retired_at,omitzero"` // since when a newer one seals

	aead cipher.AEAD
}

// String tells the label only, so that no log holds a key.
func (k Key) String() string { return k.Label }

// GoString is String.
func (k Key) GoString() string { return k.Label }

type content struct {
	Keys []Key `json:"keys"`
}

// ErrNoKey says that the key of a value is not in the file.
var ErrNoKey = errors.New("a key is missing")

// labels are safe in LIKE and between colons.
var labels = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// New makes keys that live in memory only, for tests.
func New() *Keys {
	k := &Keys{}
	_, _ = k.add(time.Now()) // without a file it cannot fail
	return k
}

// Create makes the file with a first key. It never replaces a file.
func Create(path string) (*Keys, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("key file %s: %w", path, fs.ErrExist)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	k := &Keys{path: path}
	_, err := k.add(time.Now())
	return k, err
}

// Load reads the file. One that others than its owner can read is refused; one that is not there is fs.ErrNotExist.
func Load(path string) (*Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s can be read by others (%#o): chmod 600 it", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	var c content
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("key file %s is damaged: %w", path, withoutText(err))
	}
	if len(c.Keys) == 0 {
		return nil, fmt.Errorf("key file %s holds no key", path)
	}
	for i := range c.Keys {
		one := &c.Keys[i]
		if one.aead, err = newAEAD(one.Secret); err != nil || !labels.MatchString(one.Label) {
			return nil, fmt.Errorf("key file %s is damaged: key %d is not one", path, i+1)
		}
	}
	return &Keys{path: path, all: c.Keys}, nil
}

// withoutText is an error of encoding/json that quotes nothing of the file.
func withoutText(err error) error {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("no JSON at byte %d", s.Offset)
	}
	return errors.New("not the JSON of keys")
}

// Path is where the keys rest.
func (k *Keys) Path() string { return k.path }

// List gives all keys, the newest last, without their secrets.
func (k *Keys) List() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := slices.Clone(k.all)
	for i := range out {
		out[i].Secret = nil
	}
	return out
}

// Rotate adds a key that seals from now on. It is durable in the file before it seals anything.
func (k *Keys) Rotate() (label string, err error) { return k.add(time.Now()) }

func (k *Keys) add(now time.Time) (string, error) {
	now = now.UTC().Truncate(time.Second)
	n := Key{Label: now.Format("20060102") + "-" + strings.ToLower(rand.Text()[:6]), Secret: make([]byte, 32), Made: now}
	_, _ = rand.Read(n.Secret) // it never fails
	var err error
	if n.aead, err = newAEAD(n.Secret); err != nil {
		return "", err
	}
	return n.Label, k.change(func(all []Key) ([]Key, error) {
		if len(all) > 0 {
			all[len(all)-1].Retired = now
		}
		return append(all, n), nil
	})
}

// Drop forgets a key. The caller has made sure that nothing is sealed with it any more.
func (k *Keys) Drop(label string) error {
	return k.change(func(all []Key) ([]Key, error) {
		i := slices.IndexFunc(all, func(o Key) bool { return o.Label == label })
		switch {
		case i < 0:
			return nil, fmt.Errorf("there is no key %q", label)
		case i == len(all)-1:
			return nil, fmt.Errorf("key %s is the newest: rotate first", label)
		}
		return slices.Delete(all, i, i+1), nil
	})
}

// change writes the file, then takes its content over.
func (k *Keys) change(f func([]Key) ([]Key, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := f(slices.Clone(k.all))
	if err != nil {
		return err
	}
	if k.path != "" {
		b, err := json.MarshalIndent(content{all}, "", "  ")
		if err != nil {
			return err
		}
		if err := file.Replace(k.path, append(b, '\n'), 0o600); err != nil {
			return fmt.Errorf("key file: %w", err)
		}
	}
	k.all = all
	return nil
}

// Newest is the label of the key that seals.
func (k *Keys) Newest() string {
	n, err := k.newest()
	if err != nil {
		return ""
	}
	return n.Label
}

func (k *Keys) newest() (Key, error) {
	if k == nil {
		return Key{}, fmt.Errorf("%w: the store was opened without keys", ErrNoKey)
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.all[len(k.all)-1], nil
}

func (k *Keys) labelled(label string) (Key, error) {
	if k == nil {
		return Key{}, fmt.Errorf("%w: the store was opened without keys", ErrNoKey)
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, o := range k.all {
		if o.Label == label {
			return o, nil
		}
	}
	if label == "" {
		return Key{}, ErrBroken
	}
	return Key{}, fmt.Errorf("%w: %s is not in key file %s", ErrNoKey, label, k.path)
}
