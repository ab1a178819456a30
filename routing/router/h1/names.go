package h1

// Kind names the header fields that a proxy treats.
type Kind uint8

// The kinds. Those before Other belong to one connection and are not passed on.
const (
	Connection Kind = iota
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TransferEncoding
	TE
	Upgrade
	HTTP2Settings
	Other
	Host
	ContentLength
	Expect
	Trailer
	UserAgent
	Referer
	Cookie
	SetCookie
	ForwardedFor
	ForwardedProto
	ForwardedClientCert
	RequestStart
	RequestID
	VcapRequestID
	AppInstance
	ProcessInstance
	B3
	B3Trace
	B3Span
	B3Parent
	B3Sampled
	B3Flags
	CF      // any other X-Cf-...
	Forging // spelt with _ where a CGI-style reader sees one of the kinds that the router vouches for
)

func (k Kind) hop() bool { return k < Other }

var kinds = map[string]Kind{
	"connection": Connection, "keep-alive": KeepAlive, "proxy-connection": ProxyConnection, "proxy-authenticate": ProxyAuthenticate,
	"proxy-authorization": ProxyAuthorization, "transfer-encoding": TransferEncoding, "te": TE, "upgrade": Upgrade,
	"http2-settings": HTTP2Settings, "host": Host, "content-length": ContentLength, "expect": Expect, "trailer": Trailer,
	"user-agent": UserAgent, "referer": Referer, "cookie": Cookie, "set-cookie": SetCookie, "x-forwarded-for": ForwardedFor,
	"x-forwarded-proto": ForwardedProto, "x-forwarded-client-cert": ForwardedClientCert, "x-request-start": RequestStart,
	"x-request-id": RequestID, "x-vcap-request-id": VcapRequestID, "x-cf-app-instance": AppInstance,
	"x-cf-process-instance": ProcessInstance, "b3": B3, "x-b3-traceid": B3Trace, "x-b3-spanid": B3Span, "x-b3-parentspanid": B3Parent,
	"x-b3-sampled": B3Sampled, "x-b3-flags": B3Flags,
}

// lengths marks the lengths of the names above, to answer for most others without hashing.
var lengths = func() (l [32]bool) {
	for n := range kinds {
		l[len(n)] = true
	}
	return l
}()

func kindOf(name string) Kind {
	if len(name) >= len(lengths) {
		if isCF(name) {
			return CF
		}
		return Other
	}
	var room [len(lengths)]byte
	under := false
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c, under = '-', true
		}
		room[i] = c
	}
	k, ok := Other, false
	if lengths[len(name)] {
		k, ok = kinds[string(room[:len(name)])]
	}
	if !ok {
		k = Other
		if isCF(name) {
			k = CF
		}
	}
	if under && k != Other {
		return Forging
	}
	return k
}

func isCF(name string) bool {
	return len(name) >= 5 && name[0]|0x20 == 'x' && (name[1] == '-' || name[1] == '_') && name[2]|0x20 == 'c' && name[3]|0x20 == 'f' &&
		(name[4] == '-' || name[4] == '_')
}

func set(chars string) (s [256]bool) {
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return s
}

const alnum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var (
	tokenChar = set(alnum + "!#$%&'*+-.^_`|~")
	hostChar  = set(alnum + "-._~%!$&'()*+,;=:[]")
)

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar[s[i]] {
			return false
		}
	}
	return s != ""
}

// isTarget: no spaces, no control characters.
func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// isValue: no control characters but tab.
func isValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
