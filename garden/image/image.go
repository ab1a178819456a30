// Package image keeps what containers are made of: stack images and the layers that are laid over them, each unpacked
// once and shared by all containers.
//
// It promises that an image or layer is whole or absent, that its bytes hash to its digest, and that it stays until no
// container uses it. Layers are independent of the image below them, so one droplet is stored once for all stacks. It
// keeps no archive after unpacking it, and it will not fetch anything.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"ingot/cf"
)

// Labels of our snapshots. A snapshot with the first is never collected by containerd; it goes when we remove it.
const (
	labelRoot   = "containerd.io/gc.root"
	labelName   = "ingot/name"   // of an image
	labelSource = "ingot/source" // path, size and time of the archive an image came from
	labelSize   = "ingot/size"   // bytes unpacked
)

// Store holds images and layers as committed snapshots without parents.
type Store struct {
	Snapshots snapshots.Snapshotter
	Collect   func(context.Context) error // frees the disk of removed snapshots
	MaxBytes  int64                       // that one archive may unpack to; 0 = 16 GiB
	Log       *slog.Logger

	mu    sync.Mutex
	known map[string]*item    // by reference, such as layer-<hex>
	busy  map[string]chan int // references that are being unpacked
	names map[string]string   // image name -> reference
	paths map[string]string   // reference -> folder
}

type item struct {
	size int64
	used time.Time
}

// Start reads what is there and removes what an earlier process left half unpacked.
func (s *Store) Start(ctx context.Context) error {
	s.known, s.names, s.paths, s.busy = map[string]*item{}, map[string]string{}, map[string]string{}, map[string]chan int{}
	newest := map[string]time.Time{}
	var half []string
	err := s.Snapshots.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			half = append(half, i.Name)
			return nil
		}
		size, _ := strconv.ParseInt(i.Labels[labelSize], 10, 64) // absent = 0: then it counts nothing in the budget
		s.known[i.Name] = &item{size: size, used: i.Created}
		if n := i.Labels[labelName]; n != "" && !i.Updated.Before(newest[n]) {
			s.names[n], newest[n] = i.Name, i.Updated
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	for _, n := range half {
		if err := s.Snapshots.Remove(ctx, n); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove half a snapshot: %w", err)
		}
	}
	if half != nil {
		return s.Collect(ctx)
	}
	return nil
}

// Images names the images.
func (s *Store) Images() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for n := range s.names {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// Import makes the tar (plain or gzipped) at tarPath the image of that name, for containers made from now on. A file
// that was imported before, by its path, size and time or by its digest, costs no unpacking.
func (s *Store) Import(ctx context.Context, name, tarPath string) error {
	f, err := os.Open(tarPath)
	if err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(tarPath)
	if err != nil {
		return err
	}
	stamp := fmt.Sprintf("%s %d %d", abs, st.Size(), st.ModTime().UnixNano())
	if ref, ok := s.named(name); ok {
		if i, err := s.Snapshots.Stat(ctx, ref); err == nil && i.Labels[labelSource] == stamp {
			return nil
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	digest := hex.EncodeToString(h.Sum(nil))
	ref := "image-" + digest
	if err := s.unpack(ctx, ref, source{digest: digest, r: f, filter: stack}); err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	_, err = s.Snapshots.Update(ctx, snapshots.Info{Name: ref, Labels: map[string]string{labelName: name, labelSource: stamp}},
		"labels."+labelName, "labels."+labelSource)
	if err != nil {
		return fmt.Errorf("name image %s: %w", name, err)
	}
	s.mu.Lock()
	s.names[name] = ref
	s.mu.Unlock()
	return nil
}

func (s *Store) named(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ref, ok := s.names[name]
	return ref, ok
}

// Has tells whether the layer is there and not above its limit; asking counts as use, for a container is likely to follow.
func (s *Store) Has(l cf.Layer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.known[layerRef(l)]
	if ok {
		it.used = time.Now()
	}
	return ok && (l.Limit == 0 || it.size <= l.Limit)
}

// Add unpacks r, a tar, plain or gzipped, as the layer.
func (s *Store) Add(ctx context.Context, l cf.Layer, r io.Reader) error {
	prefix := path.Clean(l.Prefix)
	if b, err := hex.DecodeString(l.Digest); err != nil || len(b) != sha256.Size || !inside(prefix) || prefix == "." {
		return cf.Errorf(cf.KindInvalid, "", "not a layer: digest %q under %q", l.Digest, l.Prefix)
	}
	p := &placer{prefix: prefix, links: map[string]bool{}}
	if err := s.unpack(ctx, layerRef(l), source{digest: l.Digest, r: r, filter: p.place, owned: prefix, limit: l.Limit}); err != nil {
		return fmt.Errorf("add layer %s: %w", l.Digest, err)
	}
	return nil
}

func layerRef(l cf.Layer) string {
	h := sha256.Sum256([]byte(l.Digest + " " + path.Clean(l.Prefix)))
	return "layer-" + hex.EncodeToString(h[:])
}

// Lowers gives the references and the folders of an image with layers over it, the uppermost folder first.
func (s *Store) Lowers(ctx context.Context, name string, layers []cf.Layer) (refs, folders []string, err error) {
	ref, ok := s.named(name)
	if !ok {
		return nil, nil, cf.Errorf(cf.KindNotFound, "", "no image %q", name)
	}
	refs = []string{ref}
	for _, l := range layers {
		if !s.Has(l) {
			return nil, nil, cf.Errorf(cf.KindNotFound, "", "no layer %s", l.Digest)
		}
		refs = append(refs, layerRef(l))
	}
	for i := len(refs) - 1; i >= 0; i-- {
		f, err := s.folder(ctx, refs[i])
		if err != nil {
			return nil, nil, err
		}
		folders = append(folders, f)
	}
	return refs, folders, nil
}

// folder finds where a snapshot lies: a view of it is a bind mount whose source tells.
func (s *Store) folder(ctx context.Context, ref string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.known[ref]
	if !ok {
		return "", cf.Errorf(cf.KindNotFound, "", "no layer %s", ref)
	}
	it.used = time.Now()
	if p, ok := s.paths[ref]; ok {
		return p, nil
	}
	key := "view-" + random()
	m, err := s.Snapshots.View(ctx, key, ref, snapshots.WithLabels(map[string]string{labelRoot: "1"}))
	if err != nil {
		return "", fmt.Errorf("view %s: %w", ref, err)
	}
	if err := s.Snapshots.Remove(ctx, key); err != nil {
		return "", fmt.Errorf("end view of %s: %w", ref, err)
	}
	if len(m) != 1 || m[0].Type != "bind" {
		return "", fmt.Errorf("snapshot %s is not one folder", ref)
	}
	s.paths[ref] = m[0].Source
	return m[0].Source, nil
}

// Layers is how many bytes all layers have.
func (s *Store) Layers() (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, it := range s.known {
		if strings.HasPrefix(ref, "layer-") {
			sum += it.size
		}
	}
	return sum
}

// DropUnused removes layers, the longest unused first, until the rest fits into budget bytes, and images that have lost
// their name; used ones stay. The caller sees to it that no container is being made meanwhile.
func (s *Store) DropUnused(ctx context.Context, used map[string]bool, budget int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[string]bool{}
	for _, ref := range s.names {
		named[ref] = true
	}
	var old []string
	var sum int64
	for ref, it := range s.known {
		if named[ref] {
			continue
		}
		sum += it.size
		if !used[ref] {
			old = append(old, ref)
		}
	}
	sort.Slice(old, func(i, j int) bool { return s.known[old[i]].used.Before(s.known[old[j]].used) })
	dropped := false
	for _, ref := range old {
		if sum <= budget {
			break
		}
		dropped = true
		if err := s.Snapshots.Remove(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("drop %s: %w", ref, err)
		}
		sum -= s.known[ref].size
		delete(s.known, ref)
		delete(s.paths, ref)
	}
	if dropped {
		return s.Collect(ctx)
	}
	return nil
}
