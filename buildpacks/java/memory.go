package java

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf16"
)

// memory is the part of the start script that divides the limit among the JVM's regions as CF's memory calculator does: what
// is left of the limit after direct memory (10M), code cache (240M), metaspace (by classes) and stacks (1M a thread) is
// heap. What JAVA_OPTS says stands. Where that leaves less than an eighth for the heap, code cache and threads are taken smaller,
// in place of CF's refusal; where it still does, the app does not start.
const memory = `
# in KiB: what JAVA_OPTS says of a region, or else the second argument
region() {
	local v
	v=$(grep -oE -- "(^|[[:space:]])$1[0-9]+[kKmMgG]?" <<<"$JAVA_OPTS" | tail -1 | grep -oE '[0-9]+[kKmMgG]?$') || { echo "$2"; return; }
	case $v in *[kK]) echo "${v%?}" ;; *[mM]) echo $((${v%?} * 1024)) ;; *[gG]) echo $((${v%?} * 1048576)) ;; *) echo $((v / 1024)) ;; esac
}
given() { grep -qE -- "(^|[[:space:]])$1[0-9]" <<<"$JAVA_OPTS"; }
total=${MEMORY_LIMIT:-1024m}
case $total in *[gG]) total=$((${total%?} * 1048576)) ;; *) total=$((${total%?} * 1024)) ;; esac
total=$((total - total * headroom / 100))
direct=$(region -XX:MaxDirectMemorySize= 10240) code=$(region -XX:ReservedCodeCacheSize= 245760)
meta=$(region -XX:MaxMetaspaceSize= $(((classes * 5800 + 14000000) / 1024))) stack=$(region -Xss 1024)
heap=$((total - direct - code - meta - stack * threads))
if [ "$heap" -lt $((total / 8)) ]; then
	code=$(region -XX:ReservedCodeCacheSize= $((total / 8)))
	[ "$threads" -le $((total / 16384)) ] || threads=$((total / 16384))
	heap=$((total - direct - code - meta - stack * threads))
fi
if given -Xmx; then
	:
elif [ "$heap" -lt $((total / 8)) ]; then
	echo "Cannot calculate JVM memory configuration: fixed memory regions require $((total - heap))K, and a heap is to fit into the $((total))K available for allocation: give the app more memory (cf scale -m)" >&2
	exit 1
else
	set -- "-Xmx${heap}K"
fi
given -XX:MaxDirectMemorySize= || set -- "$@" "-XX:MaxDirectMemorySize=${direct}K"
given -XX:MaxMetaspaceSize= || set -- "$@" "-XX:MaxMetaspaceSize=${meta}K"
given -XX:ReservedCodeCacheSize= || set -- "$@" "-XX:ReservedCodeCacheSize=${code}K"
given -Xss || set -- "$@" "-Xss${stack}K"
echo "JVM Memory Configuration: $*"
JAVA_OPTS="$JAVA_OPTS $*"
export MALLOC_ARENA_MAX=2
set --
`

// trust writes the certificates of a PEM bundle as a Java key store, so that the JVM trusts what the stack does, an operator's CAs among them.
func trust(bundle, store string) error {
	text, err := os.ReadFile(bundle)
	if err != nil {
		return fmt.Errorf("the stack's CAs: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(store), 0o755); err != nil {
		return err
	}
	return os.WriteFile(store, keyStore(text), 0o644)
}

// keyStore is the JKS format, version 2, with the password that Java's own list of CAs has; of sun.security.provider.JavaKeyStore.
func keyStore(bundle []byte) []byte {
	var certs [][]byte
	for {
		var b *pem.Block
		if b, bundle = pem.Decode(bundle); b == nil {
			break
		}
		if b.Type == "CERTIFICATE" && !slices.ContainsFunc(certs, func(c []byte) bool { return string(c) == string(b.Bytes) }) {
			certs = append(certs, b.Bytes)
		}
	}
	word := func(out []byte, text string) []byte {
		return append(binary.BigEndian.AppendUint16(out, uint16(len(text))), text...) // #nosec G115 -- short names of our own
	}
	out := binary.BigEndian.AppendUint32(nil, 0xfeedfeed)
	out = binary.BigEndian.AppendUint32(out, 2)
	out = binary.BigEndian.AppendUint32(out, uint32(len(certs))) // #nosec G115 -- a few hundred
	for i, c := range certs {
		out = binary.BigEndian.AppendUint32(out, 2) // a trusted certificate
		out = word(out, fmt.Sprintf("ca-%d", i))
		out = binary.BigEndian.AppendUint64(out, 1767225600000) // its date: nobody asks
		out = word(out, "X.509")
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(c))), c...) // #nosec G115 -- a file in memory
	}
	h := sha1.New() // #nosec G401 -- the format's
	for _, c := range utf16.Encode([]rune("changeit")) {
		h.Write([]byte{byte(c >> 8), byte(c)})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(out)
	return h.Sum(out)
}
