package match

import (
	"archive/zip"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/cf"
)

// Limits of a buildpack.
const (
	maxBuildpack = 2 << 30 // bytes, unpacked
	maxManifest  = 1 << 20
)

// zipError says what is wrong with a buildpack's zip, with CF's code.
func zipError(format string, args ...any) error {
	return cf.Errorf(cf.KindUnprocessable, "BuildpackZipError", "Buildpack zip error: "+format, args...)
}

// Buildpack checks an uploaded zip as Package checks those of apps, reads all of it, and returns the stack that its
// manifest.yml names, or "".
func Buildpack(from io.ReaderAt, size int64) (stack string, err error) {
	a, err := inspect(from, size)
	var e *cf.Error
	if errors.As(err, &e) {
		return "", zipError("%s", plain(err))
	}
	if err != nil {
		return "", err
	}
	total := uint64(0)
	for _, f := range a.files {
		if total += min(f.UncompressedSize64, maxBuildpack+1); total > maxBuildpack {
			return "", zipError("buildpack may not unpack to more than %d bytes", int64(maxBuildpack))
		}
	}
	for i, f := range a.files {
		var manifest strings.Builder
		keep := io.Discard
		if a.names[i] == "manifest.yml" {
			keep = &manifest
		}
		if keep != io.Discard && f.UncompressedSize64 > maxManifest {
			return "", zipError("buildpack manifest is too large")
		}
		if err := read(f, keep); err != nil {
			return "", zipError("buildpack zipfile is not valid")
		}
		if keep != io.Discard {
			if stack, err = stackOf(manifest.String()); err != nil {
				return "", err
			}
		}
	}
	return stack, nil
}

// read reads an entry to its end, which must be where the archive says.
func read(f *zip.File, to io.Writer) error {
	if f.FileInfo().IsDir() {
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	n, err := io.Copy(to, io.LimitReader(r, int64(f.UncompressedSize64)+1))
	if err == nil && n > int64(f.UncompressedSize64) {
		err = zip.ErrFormat
	}
	return err
}

func stackOf(manifest string) (string, error) {
	var m struct {
		Stack string `yaml:"stack"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &m); err != nil {
		return "", zipError("buildpack manifest is not valid")
	}
	return m.Stack, nil
}
