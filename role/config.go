package role

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ingot/kit/sql"
)

// Config is everything that `ingot up` can be told. Nothing in it is required.
type Config struct {
	Data     string        // data folder
	File     string        // configuration file
	Domain   string        // the system domain
	Listen   []string      // addresses beside loopback and the container gateway
	Network  string        // addresses of containers
	Cache    string        // stack and buildpacks, built once
	Admin    string        // loopback address of /livez, /readyz, /metrics
	Detach   bool          // run in the background
	Database string        // postgres://... or mysql://...; empty = SQLite files in the data folder
	KeyFile  string        // keys of secrets in the databases; empty = DATA/keys/seal.json
	DNS      string        // how the machine learns our names: auto, resolv.conf, none
	Memory   int           // MB for apps; 0 = what the machine has less a reserve
	Disk     int           // MB for apps; 0 = what the disk has less a reserve
	MaxDisk  int           // MB, the most that an instance of an app may ask for
	Staging  time.Duration // the most that a staging may take
	Worker   bool          // the process that the parent starts
	TraceFD  int           // step gate, for tests
}

// Default is the configuration of a machine that says nothing.
func Default() Config {
	return Config{
		Data: "/var/lib/ingot", Domain: "ingot.test", Network: "10.254.0.0/16", Cache: "/var/cache/ingot",
		Admin: "127.0.0.1:2280", DNS: "auto", MaxDisk: 2048, Staging: 15 * time.Minute, TraceFD: -1,
	}
}

var domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$`)

// Validate says what is wrong with c, in one line that names the flag.
func (c Config) Validate() error {
	if !domainName.MatchString(c.Domain) || len(c.Domain) > 200 {
		return fmt.Errorf("--domain %q is not a DNS name of two or more labels in lower case, such as ingot.test", c.Domain)
	}
	p, err := netip.ParsePrefix(c.Network)
	if err != nil || !p.Addr().Is4() || p.Bits() > 24 {
		return fmt.Errorf("--network %q is not an IPv4 range of at least /24, such as 10.254.0.0/16", c.Network)
	}
	for _, a := range c.Listen {
		if net.ParseIP(a) == nil {
			return fmt.Errorf("--listen %q is not an IP address", a)
		}
	}
	host, _, err := net.SplitHostPort(c.Admin)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--admin %q is not a loopback address and port, such as 127.0.0.1:2280", c.Admin)
	}
	if e, err := sql.EngineOf(c.Database); err != nil {
		return fmt.Errorf("--database: %w", err)
	} else if c.Database != "" && e == sql.SQLite {
		return errors.New("--database is not an address such as postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	if c.KeyFile != "" && !filepath.IsAbs(c.KeyFile) {
		return fmt.Errorf("--key-file %q is not an absolute path", c.KeyFile)
	}
	if c.DNS != "auto" && c.DNS != "none" {
		return fmt.Errorf("--dns %q is neither auto nor none", c.DNS)
	}
	if c.MaxDisk < 1024 {
		return fmt.Errorf("--max-app-disk %d is less than 1024, which apps get that ask for nothing", c.MaxDisk)
	}
	if c.Staging < time.Second {
		return fmt.Errorf("--staging-timeout %s is less than a second", c.Staging)
	}
	return nil
}

// warnings are worth a line but stop nothing.
func (c Config) warnings() []string {
	if strings.HasSuffix(c.Domain, ".localhost") {
		return []string{"curl and some resolvers answer *.localhost with loopback by themselves, inside containers too: apps cannot reach each other by name; use another --domain"}
	}
	return nil
}

// key names what this data folder owns outside itself: cgroups, links, tables, sockets.
func (c Config) key() string {
	sum := sha256.Sum256([]byte(c.Data))
	return hex.EncodeToString(sum[:4])
}

func (c Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.Data}, parts...)...)
}

// runFolder holds the sockets: paths of sockets may have 108 bytes only, so they are not in the data folder.
func (c Config) runFolder() string { return "/run/ingot/" + c.key() }

// removeRunFolder leaves the folder above where another data folder, or the containers of this one, have theirs in it.
func (c Config) removeRunFolder() error {
	if err := os.RemoveAll(c.runFolder()); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(c.runFolder())) // fails where it is not empty
	return nil
}

func (c Config) keyFile() string { return cmp.Or(c.KeyFile, c.path("keys", "seal.json")) }

func (c Config) adminSocket() string { return c.runFolder() + "/admin.sock" }

func (c Config) apps() string { return "apps." + c.Domain }

func (c Config) host(name string) string { return name + "." + c.Domain }

func (c Config) api() string { return "https://" + c.host("api") }

// addresses are all that we listen on.
func (c Config) addresses() []string {
	return append([]string{"127.0.0.1", c.gateway().String()}, c.Listen...)
}

// sockets are the names of all that the parent holds for its worker.
func (c Config) sockets() (names []string) {
	for _, a := range c.addresses() {
		for _, port := range []string{"443", "80", "53"} {
			names = append(names, "tcp/"+net.JoinHostPort(a, port))
		}
		names = append(names, "udp/"+net.JoinHostPort(a, "53"))
	}
	return names
}

// gateway is the address by which containers reach this host: the first of their network.
func (c Config) gateway() netip.Addr { return netip.MustParsePrefix(c.Network).Masked().Addr().Next() }

// hostAddress is where apps' host ports are offered, and what apps see as CF_INSTANCE_IP: the machine's own address where
// --listen lets others in, else the gateway.
func (c Config) hostAddress() netip.Addr {
	if len(c.Listen) == 0 {
		return c.gateway()
	}
	return outwards(c.Listen[0])
}

// outwards is the address by which others reach a listener: for 0.0.0.0 the machine's own, the one that leads out.
func outwards(listen string) netip.Addr {
	a := netip.MustParseAddr(listen)
	if !a.IsUnspecified() {
		return a
	}
	c, err := net.Dial("udp4", "192.0.2.1:9") // sends nothing: it only asks the routing table
	if err != nil {
		return netip.MustParseAddr("127.0.0.1")
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}
