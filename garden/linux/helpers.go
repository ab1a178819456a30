package linux

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ingot/kit/file"
)

//go:embed all:bin
var bin embed.FS

// helpers are the programs that tools/build.sh makes and this one carries.
type helpers struct {
	folder           string // of all versions
	runc, shim, pid1 string
}

var helperNames = []string{"runc", "shim", "init"}

// Carried tells whether this program carries all helpers.
func Carried() error {
	_, err := carried(bin)
	return err
}

func carried(from fs.ReadFileFS) (packed map[string][]byte, err error) {
	packed = map[string][]byte{}
	for _, n := range helperNames {
		if packed[n], err = from.ReadFile("bin/" + n + ".gz"); err != nil {
			return nil, fmt.Errorf("this build has no helper program %s: run tools/build.sh and build again", n)
		}
	}
	return packed, nil
}

// extract writes the helpers to <folder>/<digest>/, where running shims of another version keep theirs.
func extract(from fs.ReadFileFS, folder string) (helpers, error) {
	packed, err := carried(from)
	if err != nil {
		return helpers{}, err
	}
	all := sha256.New()
	for _, n := range helperNames {
		_, _ = all.Write(packed[n]) // a hash never fails
	}
	dir := filepath.Join(folder, hex.EncodeToString(all.Sum(nil)))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return helpers{}, err
	}
	for _, n := range helperNames {
		if err := unzip(filepath.Join(dir, n), packed[n]); err != nil {
			return helpers{}, fmt.Errorf("extract helper %s: %w", n, err)
		}
	}
	return helpers{folder: folder, runc: filepath.Join(dir, "runc"), shim: filepath.Join(dir, "shim"), pid1: filepath.Join(dir, "init")}, nil
}

// unzip writes a program whole or not at all; one that is there is whole.
func unzip(path string, packed []byte) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	program, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return file.Replace(path, program, 0o755)
}
