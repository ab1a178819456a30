package cf

import (
	"context"
	"io"
	"time"
)

// BlobKind is a store of bits-service.
type BlobKind string

// The stores.
const (
	BlobPackage   BlobKind = "packages"
	BlobDroplet   BlobKind = "droplets"
	BlobBuildpack BlobKind = "buildpacks"
	BlobCache     BlobKind = "buildpack_cache"
	BlobResource  BlobKind = "app_stash"
)

// Blob is a stored byte string. Its key is "<kind>/<sha256>" for content-addressed kinds.
type Blob struct {
	Key    string
	SHA256 string
	Size   int64
}

// Resource is one file of an app as resource matching names it: SHA-1, size in bytes, and the client's path and mode.
type Resource struct {
	SHA1 string
	Size int64
	Path string
	Mode string // octal text, such as "644"
}

// Blobs is the door to packages, droplets, buildpacks and build caches. Nothing is kept in memory; a Put is
// durable and verified when it returns.
type Blobs interface {
	// Put stores r under its digest.
	Put(ctx context.Context, kind BlobKind, r io.Reader) (Blob, error)
	// PutNamed stores r under a name that is replaced by the next PutNamed: build caches.
	PutNamed(ctx context.Context, kind BlobKind, name string, r io.Reader) (Blob, error)
	// Open reads a blob; KindNotFound when it is not there. The caller closes it.
	Open(ctx context.Context, key string) (io.ReadCloser, int64, error)
	// Delete forgets a blob that nothing refers to any more; the bytes go after the grace period.
	Delete(ctx context.Context, key string) error
	// DeleteNamed removes the named blobs whose name begins with prefix.
	DeleteNamed(ctx context.Context, kind BlobKind, prefix string) error
	// Match returns those of the resources that are stored, of small files those that the owner, a user or client, sent.
	Match(ctx context.Context, owner string, rs []Resource) ([]Resource, error)
	// Package makes a package zip of an uploaded zip (nil: none) and of matched resources, checks every entry
	// (KindInvalid, code AppBitsUploadInvalid, for paths out, links out, devices), and keeps its files for matching,
	// small ones for the owner.
	Package(ctx context.Context, owner string, zip io.Reader, rs []Resource) (Blob, error)
	// Buildpack stores a buildpack's zip after the same checks (KindUnprocessable, code BuildpackZipError), and returns the
	// stack that its manifest.yml names, or "".
	Buildpack(ctx context.Context, zip io.Reader) (b Blob, stack string, err error)
	// Droplet stores an uploaded droplet (a tar.gz) after the checks of a cell that unpacks it (KindInvalid, code
	// DropletUploadInvalid, for paths out, links out, devices and what is too big).
	Droplet(ctx context.Context, tgz io.Reader) (Blob, error)
	// SignURL returns an absolute URL that reads the blob without a token until then.
	SignURL(key string, expires time.Time) string
}
