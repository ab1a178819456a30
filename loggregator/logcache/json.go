package logcache

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The JSON is protojson's with the names of the .proto files: 64-bit integers are strings, bytes are base64. Its
// readers accept no field that the messages do not have.

// appendRead writes a ReadResponse.
func appendRead(b []byte, source string, items []item) []byte {
	size := 64
	for i := range items {
		size += 160 + len(source) + len(items[i].tags) + base64.StdEncoding.EncodedLen(len(items[i].payload)) + 64*len(items[i].gauge)
	}
	b = append(slices.Grow(b, size), `{"envelopes":{"batch":[`...)
	id := appendJSONString(nil, source)
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEnvelope(b, id, &items[i])
	}
	return append(b, "]}}\n"...)
}

func appendEnvelope(b, source []byte, it *item) []byte {
	b = appendInt(append(b, `{"timestamp":`...), it.time)
	b = append(append(b, `,"source_id":`...), source...)
	b = appendJSONString(append(b, `,"instance_id":`...), it.instance)
	b = append(append(b, `,"tags":`...), it.tags...)
	switch it.kind {
	case kindLog:
		b = append(b, `,"log":{"payload":"`...)
		b = base64.StdEncoding.AppendEncode(b, it.payload)
		if it.err {
			return append(b, `","type":"ERR"}}`...)
		}
		return append(b, `","type":"OUT"}}`...)
	case kindCounter:
		b = appendJSONString(append(b, `,"counter":{"name":`...), it.name)
		b = appendUint(append(b, `,"delta":`...), it.a)
		b = appendUint(append(b, `,"total":`...), it.b)
		return append(b, "}}"...)
	case kindGauge:
		b = append(b, `,"gauge":{"metrics":{`...)
		for i, g := range it.gauge {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, g.name)
			b = appendJSONString(append(b, `:{"unit":`...), g.unit)
			b = append(appendFloat(append(b, `,"value":`...), g.value), '}')
		}
		return append(b, "}}}"...)
	default:
		b = appendJSONString(append(b, `,"timer":{"name":`...), it.name)
		b = appendInt(append(b, `,"start":`...), int64(it.a))
		b = appendInt(append(b, `,"stop":`...), int64(it.b))
		return append(b, "}}"...)
	}
}

// appendMeta writes a MetaResponse.
func appendMeta(b []byte, ids []string, known map[string]meta) []byte {
	b = append(b, `{"meta":{`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		m := known[id]
		b = appendJSONString(b, id)
		b = appendInt(append(b, `:{"count":`...), int64(m.count))
		b = appendUint(append(b, `,"expired":`...), m.expired)
		b = appendInt(append(b, `,"oldest_timestamp":`...), m.oldest)
		b = append(appendInt(append(b, `,"newest_timestamp":`...), m.newest), '}')
	}
	return append(b, "}}\n"...)
}

func appendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, '"'), n, 10), '"')
}

func appendUint(b []byte, n uint64) []byte {
	return append(strconv.AppendUint(append(b, '"'), n, 10), '"')
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// appendJSONString writes s as a JSON string; bytes that are not UTF-8 become the replacement character.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + n
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
