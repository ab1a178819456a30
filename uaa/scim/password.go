package scim

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"ingot/cf"
)

// argon2id with OWASP's least parameters for 19 MiB (Password Storage Cheat Sheet).
const (
	argonTime   = 2
	argonMemory = 19 * 1024
	argonLanes  = 1
	argonLen    = 32
)

// MaxPassword is the longest password in bytes (UAA's policy by default).
const MaxPassword = 255

// nobody is checked where there is no user, so that a wrong name takes as long as a wrong password.
const nobody = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2$ZHCW6+Lyb1gBxq0IVKJgzmvCpVjIMuGlvdXvXNKYCYk"

// Hasher makes and checks password hashes, as many at a time as there are processors.
type Hasher struct{ slots chan struct{} }

// NewHasher makes a Hasher.
func NewHasher() *Hasher { return &Hasher{make(chan struct{}, runtime.GOMAXPROCS(0))} }

// take waits for a processor, but not for long: a flood of logins must not pile up.
func (h *Hasher) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return cf.Wrap(cf.KindUnavailable, "", "", ctx.Err())
	}
}

// Hash makes the PHC text of a password.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := h.take(ctx); err != nil {
		return "", err
	}
	defer func() { <-h.slots }()
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonLen)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// Check tells whether password is the one of hash: argon2id, or bcrypt of an imported user. No hash at all takes
// as long and is false.
func (h *Hasher) Check(ctx context.Context, hash, password string) (bool, error) {
	if err := h.take(ctx); err != nil {
		return false, err
	}
	defer func() { <-h.slots }()
	if hash == "" {
		_ = argon(nobody, password)
		return false, nil
	}
	if bc, ok := strings.CutPrefix(hash, "{bcrypt}"); ok || strings.HasPrefix(hash, "$2") {
		return bcrypt.CompareHashAndPassword([]byte(bc), []byte(password)) == nil, nil
	}
	return argon(hash, password), nil
}

func argon(hash, password string) bool {
	var version, memory, passes, lanes int
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil ||
		memory < 8 || memory > 1<<20 || passes < 1 || passes > 64 || lanes < 1 || lanes > 64 {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) < 16 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}
