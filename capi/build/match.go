package build

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
)

// resource is a file as clients name it; the older spelling (sha1, size, fn) is taken too.
type resource struct {
	Checksum struct {
		Value string `json:"value"`
	} `json:"checksum"`
	Size int64  `json:"size_in_bytes"`
	Path string `json:"path"`
	Mode string `json:"mode"`

	OldSHA1 string `json:"sha1,omitempty"`
	OldSize int64  `json:"size,omitempty"`
	OldPath string `json:"fn,omitempty"`
}

func (r resource) stored() cf.Resource {
	out := cf.Resource{SHA1: r.Checksum.Value, Size: r.Size, Path: r.Path, Mode: r.Mode}
	if r.OldSHA1 != "" {
		out.SHA1, out.Size, out.Path = r.OldSHA1, r.OldSize, r.OldPath
	}
	return out
}

type matchBody struct{ resources []cf.Resource }

var octal = regexp.MustCompile(`^[0-7]+$`)

// Take checks as Cloud Controller does: each kind of mistake is told once.
func (t *matchBody) Take(b *rest.Body) {
	var list []map[string]json.RawMessage
	if raw := b.Raw("resources"); raw == nil || json.Unmarshal(raw, &list) != nil || list == nil {
		b.Wrong("resources", "must be an array")
		return
	}
	switch {
	case len(list) > 5000:
		b.Wrong("resources", "array can have at most 5000 resources")
		return
	case len(list) == 0:
		b.Wrong("resources", "must have at least 1 resource")
	}
	var told []string
	wrong := func(words string) {
		if !slices.Contains(told, words) {
			told = append(told, words)
			b.Wrong("resources", "array contains at least one resource with %s", words)
		}
	}
	for _, m := range list {
		t.resources = append(t.resources, oneResource(m, wrong))
	}
}

func oneResource(m map[string]json.RawMessage, wrong func(string)) (r cf.Resource) {
	var sum map[string]json.RawMessage
	switch {
	case m["checksum"] == nil || json.Unmarshal(m["checksum"], &sum) != nil || sum == nil:
		wrong("a non-object checksum")
	case sum["value"] == nil || json.Unmarshal(sum["value"], &r.SHA1) != nil:
		wrong("a non-string checksum value")
	case len(r.SHA1) != 40:
		wrong("a non-SHA1 checksum value")
	}
	if n, err := strconv.ParseInt(string(m["size_in_bytes"]), 10, 64); err != nil {
		wrong("a non-integer size_in_bytes")
	} else if r.Size = n; n < 0 {
		wrong("a negative size_in_bytes")
	}
	if v := m["mode"]; v != nil && string(v) != "null" {
		if json.Unmarshal(v, &r.Mode) != nil {
			wrong("a non-string mode")
		} else if !octal.MatchString(r.Mode) {
			wrong("an incorrect mode")
		}
	}
	_ = json.Unmarshal(m["path"], &r.Path) // what is no text is no path; it only comes back
	return r
}

func (f *Family) match(c *rest.Call) error {
	if err := access.Enabled(c.Ctx(), c.DB(), "app_bits_upload"); err != nil {
		return err
	}
	var t matchBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	out := []rest.Object{}
	if access.Enabled(c.Ctx(), c.DB(), "resource_matching") == nil {
		found, err := f.Blobs.Match(c.Ctx(), c.Caller.GUID, t.resources)
		if err != nil {
			return err
		}
		for _, r := range found {
			mode := r.Mode
			if mode == "" {
				mode = "744" // clients cannot do without
			}
			out = append(out, rest.Object{"checksum": rest.Object{"value": r.SHA1}, "size_in_bytes": r.Size, "path": r.Path, "mode": mode})
		}
	}
	return c.JSON(http.StatusCreated, rest.Object{"resources": out})
}
