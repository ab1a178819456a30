package builder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// result is the document that a build leaves, as buildpackapplifecycle writes it.
type result struct {
	Lifecycle struct {
		Key        string      `json:"buildpack_key,omitempty"`
		Detected   string      `json:"detected_buildpack"`
		Buildpacks []buildpack `json:"buildpacks"`
	} `json:"lifecycle_metadata"`
	ProcessTypes map[string]string `json:"process_types"`
	Processes    []process         `json:"processes,omitempty"`
	Sidecars     []sidecar         `json:"sidecars,omitempty"`
	Metadata     string            `json:"execution_metadata"`
	Type         string            `json:"lifecycle_type"`
}

// buildpack is one that took part. Name, version and config are what it says of itself in deps/<index>/config.yml.
type buildpack struct {
	Key          string        `json:"key" yaml:"-"`
	Name         string        `json:"name" yaml:"name"`
	Version      string        `json:"version,omitempty" yaml:"version"`
	Config       *launchConfig `json:"config,omitempty" yaml:"config"`
	DetectOutput string        `json:"detect_output,omitempty" yaml:"-"` // ours
}

type launchConfig struct {
	EntrypointPrefix string `json:"entrypoint_prefix,omitempty" yaml:"entrypoint_prefix"`
}

// stagingInfo is staging_info.yml in the droplet; JSON is YAML too.
type stagingInfo struct {
	Detected string        `json:"detected_buildpack"`
	Start    string        `json:"start_command"`
	Config   *launchConfig `json:"config,omitempty"`
}

type process struct {
	Type    string `json:"type" yaml:"type"`
	Command string `json:"command" yaml:"command"`
}

type sidecar struct {
	Name         string   `json:"name"`
	ProcessTypes []string `json:"process_types"`
	Command      string   `json:"command"`
	Memory       int      `json:"memory,omitempty"`
}

// launched is an entry of a buildpack's launch.yml: a process, or a sidecar of processes.
type launched struct {
	process   `yaml:",inline"`
	Platforms struct {
		CF struct {
			SidecarFor []string `yaml:"sidecar_for"`
		} `yaml:"cloudfoundry"`
	} `yaml:"platforms"`
	Limits struct {
		Memory int `yaml:"memory"`
	} `yaml:"limits"`
}

// processes gathers the process types: launch.yml of the suppliers, then launch.yml or release of the final buildpack,
// then the Procfile. The later one wins.
func (b *Build) processes(ctx context.Context, final int) ([]launched, error) {
	var all []launched
	for i := range b.suppliers() + 1 {
		found, err := b.launchYML(i)
		if err != nil {
			return nil, err
		}
		all = merge(all, found)
		if i == b.suppliers() && found == nil {
			if found, err = b.release(ctx, final); err != nil {
				return nil, &Failure{CodeRelease, releaseFailed, err}
			}
			all = merge(all, found)
		}
	}
	found, err := b.procfile()
	if err != nil {
		return nil, err
	}
	return merge(all, found), nil
}

// launchYML gives nil where the buildpack wrote none.
func (b *Build) launchYML(i int) ([]launched, error) {
	text, err := readFile(filepath.Join(b.deps(i), "launch.yml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		Processes []launched `yaml:"processes"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("launch.yml of %s: %w", b.Order[i], err)
	}
	return append([]launched{}, doc.Processes...), nil
}

func (b *Build) release(ctx context.Context, final int) ([]launched, error) {
	f, err := b.folder(final)
	if err != nil {
		return nil, err
	}
	out, err := b.capture(ctx, f, "release", b.BuildDir)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Types map[string]string `yaml:"default_process_types"`
	}
	if err := yaml.Unmarshal(out, &doc); err != nil {
		return nil, fmt.Errorf("buildpack's release output invalid: %w", err)
	}
	return fromMap(doc.Types), nil
}

func (b *Build) procfile() ([]launched, error) {
	text, err := readFile(filepath.Join(b.BuildDir, "Procfile"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	types := map[string]string{}
	if err == nil && yaml.Unmarshal(text, &types) != nil {
		err = errors.New("invalid YAML")
	}
	if err != nil {
		return nil, fmt.Errorf("Failed to read command from Procfile: %w", err) //nolint:staticcheck // CF's words
	}
	return fromMap(types), nil
}

func fromMap(types map[string]string) []launched {
	var out []launched
	for t, c := range types {
		out = append(out, launched{process: process{t, c}})
	}
	slices.SortFunc(out, func(a, b launched) int { return bytes.Compare([]byte(a.Type), []byte(b.Type)) })
	return out
}

func merge(old, more []launched) []launched {
	for _, n := range more {
		if i := slices.IndexFunc(old, func(o launched) bool { return o.Type == n.Type }); i >= 0 {
			old[i] = n
		} else {
			old = append(old, n)
		}
	}
	return old
}

// writeResult leaves the result document, and staging_info.yml for the droplet.
func (b *Build) writeResult(all []launched, final int, detected string) error {
	r := result{ProcessTypes: map[string]string{}, Type: "buildpack"}
	for _, l := range all {
		if to := l.Platforms.CF.SidecarFor; len(to) > 0 {
			r.Sidecars = append(r.Sidecars, sidecar{l.Type, to, l.Command, l.Limits.Memory})
			continue
		}
		r.ProcessTypes[l.Type] = l.Command
		r.Processes = append(r.Processes, l.process)
	}
	if r.ProcessTypes["web"] == "" {
		b.complain("No start command specified by buildpack or via Procfile.\nApp will not start unless a command is provided at runtime.")
	}
	r.Lifecycle.Buildpacks = b.took(final, detected)
	last := r.Lifecycle.Buildpacks[len(r.Lifecycle.Buildpacks)-1]
	r.Lifecycle.Key, r.Lifecycle.Detected = last.Key, last.Name
	if err := writeJSON(b.Result, r); err != nil {
		return err
	}
	return writeJSON(filepath.Join(b.Contents, "staging_info.yml"), stagingInfo{last.Name, r.ProcessTypes["web"], last.Config})
}

// took lists the buildpacks that took part.
func (b *Build) took(final int, detected string) []buildpack {
	first := final
	if b.SkipDetect {
		first = 0
	}
	var out []buildpack
	for i := first; i <= final; i++ {
		var p buildpack
		if text, err := readFile(filepath.Join(b.deps(i-first), "config.yml")); err == nil && yaml.Unmarshal(text, &p) != nil {
			p = buildpack{}
		}
		p.Key, p.Name, p.Version = b.Order[i], brief(p.Name), brief(p.Version)
		if p.Name == "" {
			p.Name = detected
		}
		if i == final { // as Cloud Controller does: without detection it is the name
			p.DetectOutput = cmp.Or(detected, p.Name)
		}
		out = append(out, p)
	}
	return out
}

// brief keeps of what a buildpack says of itself as much as Cloud Controller does.
func brief(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), 255)], "")
}

// maxText bounds the documents that a buildpack or an app leaves.
const maxText = 1 << 20

// readFile reads a document of at most maxText bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(name), maxText)
	}
	return text, err
}

func trimLines(out []byte) string { return brief(string(bytes.TrimRight(out, "\r\n"))) }
