package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// Host is the name resolution of this machine. Where systemd-resolved answers, a routing domain on a link of our own
// sends the platform's names to us; elsewhere, and where that fails, resolv.conf names us first and the servers it had after us, so that a
// dead Ingot costs nothing.
type Host struct {
	Domain     string // such as ingot.test
	Server     string // the address of our Server, without a port: "127.0.0.1"
	Data       string // the original is kept in the folder resolv.conf here
	ResolvConf string // "": /etc/resolv.conf
	Resolved   string // systemd-resolved's socket; "": /run/systemd/resolve/io.systemd.Resolve
	Resolvectl string // "": resolvectl
}

func (h *Host) path() string   { return or(h.ResolvConf, "/etc/resolv.conf") }
func (h *Host) folder() string { return filepath.Join(h.Data, "resolv.conf") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Upstreams are the servers that the host has without us, for Server.Upstreams.
func (h *Host) Upstreams() ([]string, error) {
	original, err := h.original()
	if err != nil {
		return nil, fmt.Errorf("resolv.conf: %w", err)
	}
	return nameservers(original.Text, h.Server), nil
}

// original is what resolv.conf is, or was before us.
func (h *Host) original() (saved, error) {
	now, err := look(h.path())
	if err != nil {
		return now, err
	}
	was, ok, err := kept(h.folder())
	if err != nil {
		return now, err
	}
	text, ours := strip(now.Text)
	switch {
	case ok && (ours || h.torn(now, was)):
		return was, nil
	case ours && now.Link == "": // the data folder is gone, but the file itself holds what it was
		now.Text = text
	}
	return now, nil
}

// torn tells whether an earlier Ingot was killed while it wrote the file, in place, back or forth.
func (h *Host) torn(now, was saved) bool {
	return mounted(h.path()) && torn(now.Text, was.Text, compose(h.Server, was.Text))
}

// Install points the host at our server. It may be called again, also after a kill at any step.
func (h *Host) Install(ctx context.Context) error {
	original, err := h.original()
	if err != nil {
		return fmt.Errorf("resolv.conf: %w", err)
	}
	if h.resolved(original) {
		err := h.route(ctx)
		if err == nil {
			return nil
		}
		// A kernel without dummy links, or no resolvectl: resolv.conf still reaches all but nss-resolve.
		slog.Warn("systemd-resolved not told of our domain, resolv.conf is written instead", "error", err)
		if err := h.unroute(ctx); err != nil {
			return err
		}
	}
	if was, ok, err := kept(h.folder()); err != nil || !ok || !same(was, original) {
		// From here to the rename within keep there may be no saved original: then resolv.conf is the original itself, or
		// ours, which holds it.
		if err := original.keep(h.folder()); err != nil {
			return fmt.Errorf("save resolv.conf: %w", err)
		}
	}
	mine := saved{Text: compose(h.Server, original.Text), Mode: original.Mode, UID: original.UID, GID: original.GID}
	if original.Absent || original.Link != "" {
		mine.Mode, mine.UID, mine.GID = 0o644, os.Geteuid(), os.Getegid()
	}
	if now, err := look(h.path()); err == nil && same(now, mine) {
		return nil
	}
	if err := mine.put(h.path()); err != nil {
		return fmt.Errorf("write resolv.conf: %w", err)
	}
	return nil
}

func same(a, b saved) bool {
	return a.Absent == b.Absent && a.Link == b.Link && (a.Link != "" || a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID) &&
		string(a.Text) == string(b.Text)
}

// Restore takes us out again: the file is what it was, byte for byte. What somebody else wrote since stays.
func (h *Host) Restore(ctx context.Context) error {
	if err := h.unroute(ctx); err != nil {
		return err
	}
	now, err := look(h.path())
	if err != nil {
		return fmt.Errorf("resolv.conf: %w", err)
	}
	original, err := h.original()
	if err != nil {
		return fmt.Errorf("resolv.conf: %w", err)
	}
	if !same(now, original) {
		if err := original.put(h.path()); err != nil {
			return fmt.Errorf("restore resolv.conf: %w", err)
		}
		slog.Info("name resolution restored", "file", h.path())
	}
	if err := errors.Join(forget(h.folder()), os.RemoveAll(h.path()+half)); err != nil {
		return fmt.Errorf("forget resolv.conf: %w", err)
	}
	return nil
}
