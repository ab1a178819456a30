// Package once keeps folders that are expensive to make.
//
// It promises: a folder appears whole or not at all; of several builders, in this process or in others, one works and the
// others wait for it; what a killed build left goes with the next build. It will not throw away folders of older keys.
package once

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ingot/kit/lock"
)

// Key names a folder after all that decides its content.
func Key(inputs ...any) string {
	h := sha256.New()
	for _, in := range inputs {
		_, _ = fmt.Fprintf(h, "%v\n", in)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Has tells whether the folder was made.
func Has(parent, key string) bool {
	_, err := os.Stat(filepath.Join(parent, key))
	return err == nil
}

// Dir returns <parent>/<key>, after fill has made it unless it is there already. fill writes into an empty folder
// beside it, on the same file system, and must sync what it writes.
func Dir(ctx context.Context, parent, key string, log io.Writer, fill func(folder string) error) (string, error) {
	final := filepath.Join(parent, key)
	if Has(parent, key) {
		return final, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	held, err := wait(ctx, parent, log)
	if err != nil {
		return "", err
	}
	defer func() { _ = held.Release() }()
	if Has(parent, key) { // another builder made it meanwhile
		return final, nil
	}
	fresh := filepath.Join(parent, "new")
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return "", err
	}
	if err := fill(fresh); err != nil {
		return "", err
	}
	return final, os.Rename(fresh, final)
}

// wait takes the lock of the folder, after any other builder.
func wait(ctx context.Context, folder string, log io.Writer) (*lock.Held, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		held, err := lock.Folder(folder)
		var busy *lock.Busy
		if !errors.As(err, &busy) {
			return held, err
		}
		if !told {
			_, _ = fmt.Fprintf(log, "waiting for the build of pid %s\n", busy.PID)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// File writes a file with what fill gives it, durably, and returns the SHA-256 of its bytes in hex.
func File(path string, fill func(w io.Writer) error) (digest string, err error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if err := fill(io.MultiWriter(f, h)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Sync()
}
