// Package seal encrypts values that rest in a database, with keys that rest in a file of their own.
//
// It promises AES-256-GCM with a nonce of its own for each value, that a value opens only at the place that it was
// sealed for (so rows cannot be swapped by who can write the database), and that keys change while they are used. A key
// beside the database protects copies of the database, not a stolen disk. It will not know any table.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Box is an encrypted value as a column keeps it: sealed:LABEL:BASE64. The label names the key. Empty means nothing. It
// tells nothing of the value but its length, so it may be printed.
type Box string

// Prefix begins every Box that is not empty.
const Prefix = "sealed:"

// Label names the key that the box was sealed with; empty for what is no box.
func (b Box) Label() string {
	rest, ok := strings.CutPrefix(string(b), Prefix)
	label, _, cut := strings.Cut(rest, ":")
	if !ok || !cut {
		return ""
	}
	return label
}

// ErrBroken says that a box was not sealed for this place, or was changed since.
var ErrBroken = errors.New("an encrypted value cannot be opened: it was changed, or belongs elsewhere")

// Place is where a value rests. It is authenticated with it.
type Place struct{ Table, GUID, Column string }

func (p Place) bytes() []byte { return []byte(p.Table + "\x00" + p.GUID + "\x00" + p.Column) }

// Seal encrypts plain with the newest key.
func (k *Keys) Seal(at Place, plain []byte) (Box, error) {
	key, err := k.newest()
	if err != nil {
		return "", err
	}
	box := key.aead.Seal(nil, nil, plain, at.bytes())
	return Box(Prefix + key.Label + ":" + base64.RawStdEncoding.EncodeToString(box)), nil
}

// Open decrypts b. An empty box gives nil.
func (k *Keys) Open(at Place, b Box) ([]byte, error) {
	if b == "" {
		return nil, nil
	}
	label := b.Label()
	key, err := k.labelled(label)
	if err != nil {
		return nil, err
	}
	text := string(b)[len(Prefix)+len(label)+1:]
	box, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrBroken
	}
	plain, err := key.aead.Open(nil, nil, box, at.bytes())
	if err != nil {
		return nil, fmt.Errorf("%w (%s %s %s)", ErrBroken, at.Table, at.GUID, at.Column)
	}
	return plain, nil
}

func newAEAD(secret []byte) (cipher.AEAD, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("a key has %d bytes, not 32", len(secret))
	}
	b, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(b)
}
