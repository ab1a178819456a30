package dns

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
)

// mark is the first line of a resolv.conf that is ours. Our server's line follows, then the original as it was.
const mark = "# ingot put this line and the next one here; \"ingot down\" takes them away\n"

// compose makes our file of the original.
func compose(server string, original []byte) []byte {
	return append([]byte(mark+"nameserver "+server+"\n"), original...)
}

// strip gives the original of a file that is ours, as often as it is.
func strip(text []byte) (original []byte, ours bool) {
	for {
		rest, ok := bytes.CutPrefix(text, []byte(mark))
		if !ok {
			return text, ours
		}
		_, text, _ = bytes.Cut(rest, []byte("\n"))
		ours = true
	}
}

// torn tells whether text can be what is left when writing a over b, or b over a, was cut short: each byte is that of
// one of them.
func torn(text, a, b []byte) bool {
	if len(text) > max(len(a), len(b)) {
		return false
	}
	for i, c := range text {
		if (i >= len(a) || a[i] != c) && (i >= len(b) || b[i] != c) {
			return false
		}
	}
	return true
}

// nameservers are the servers of a resolv.conf, as host:53, without those in not.
func nameservers(text []byte, not ...string) []string {
	var out []string
next:
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		ip, err := netip.ParseAddr(words[1])
		if err != nil || ip.IsUnspecified() {
			continue
		}
		for _, n := range not {
			if n == ip.String() {
				continue next
			}
		}
		out = append(out, net.JoinHostPort(ip.String(), "53"))
	}
	return out
}
