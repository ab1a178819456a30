// Package key keeps UAA's signing keys in one 0600 file, signs access tokens with the active one and checks tokens
// against all of them.
//
// It promises RS256 and nothing else, a key id on every token, and that a token is only ever checked with the public key
// which its key id names. It will not judge what a token says beyond issuer and times.
package key

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ingot/kit/file"
)

const bits = 2048

// Set is the keys of one file. It does not change after Load.
type Set struct {
	active  string
	private map[string]*rsa.PrivateKey
	public  []Public
}

// Public is one key as /token_keys shows it.
type Public struct {
	Type      string `json:"kty"`
	Exponent  string `json:"e"`
	Use       string `json:"use"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	PEM       string `json:"value"`
	Modulus   string `json:"n"`
}

// file is the form on disk: the first key signs, the others are still accepted.
type keyFile struct {
	Keys []stored `json:"keys"`
}

type stored struct {
	ID  string `json:"kid"`
	PEM string `json:"private_key"`
}

// Load reads the keys of path, or makes the file with one new key. The file is whole or absent, whatever happens.
func Load(path string) (*Set, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	s, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("signing keys %s: %w", path, err)
	}
	return s, nil
}

func create(path string) ([]byte, error) {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	text, err := json.Marshal(keyFile{[]stored{{
		ID:  "key-" + hex.EncodeToString(sum[:8]),
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}}})
	if err != nil {
		return nil, err
	}
	return text, file.Replace(path, text, 0o600)
}

func parse(text []byte) (*Set, error) {
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if len(f.Keys) == 0 {
		return nil, errors.New("no keys")
	}
	s := &Set{active: f.Keys[0].ID, private: map[string]*rsa.PrivateKey{}}
	for _, st := range f.Keys {
		k, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(st.PEM))
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", st.ID, err)
		}
		if _, twice := s.private[st.ID]; twice || st.ID == "" {
			return nil, fmt.Errorf("key id %q is empty or stands twice", st.ID)
		}
		p, err := publish(st.ID, &k.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", st.ID, err)
		}
		s.private[st.ID], s.public = k, append(s.public, p)
	}
	return s, nil
}

func publish(id string, k *rsa.PublicKey) (Public, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return Public{}, err
	}
	b64 := base64.RawURLEncoding
	return Public{
		Type: "RSA", Use: "sig", ID: id, Algorithm: "RS256",
		Exponent: b64.EncodeToString(big.NewInt(int64(k.E)).Bytes()), Modulus: b64.EncodeToString(k.N.Bytes()),
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}, nil
}

// Public is all keys, the signing one first.
func (s *Set) Public() []Public { return s.public }

// Sign makes a token of the claims; jku is the address of /token_keys.
func (s *Set) Sign(claims jwt.Claims, jku string) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	t.Header["kid"], t.Header["jku"] = s.active, jku
	return t.SignedString(s.private[s.active])
}

// Parse checks the token's signature, issuer, exp (which it must have) and nbf at the time now, and fills
// claims. As in UAA, iat refuses nothing: a machine whose clock was set back goes on with the tokens that are out.
func (s *Set) Parse(token, issuer string, now time.Time, claims jwt.Claims) error {
	p := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Alg()}),
		jwt.WithIssuer(issuer), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	_, err := p.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		if k, ok := s.private[id]; ok {
			return &k.PublicKey, nil
		}
		return nil, fmt.Errorf("unknown key id %q", id)
	})
	return err
}
