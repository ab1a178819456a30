package rlp

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"ingot/cf"
)

// Event types and their fields in dropsonde's Envelope (dropsonde-protocol, events/envelope.proto).
const (
	typeLogMessage      = 5
	typeValueMetric     = 6
	typeCounterEvent    = 7
	typeContainerMetric = 9

	fieldLogMessage      = 8
	fieldValueMetric     = 9
	fieldCounterEvent    = 10
	fieldContainerMetric = 12
	fieldTags            = 17
)

// message is a protocol buffer that grows.
type message []byte

func (m message) text(field protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) number(field protowire.Number, n uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), n)
}

func (m message) float(field protowire.Number, f float64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, field, protowire.Fixed64Type), math.Float64bits(f))
}

func (m message) message(field protowire.Number, sub []byte) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), sub)
}

// dropsonde gives the v1 envelopes of an envelope: a gauge that is no container's gives one for each metric, a timer none.
func dropsonde(e *cf.Envelope) [][]byte {
	switch {
	case e.Log != nil:
		kind := uint64(1)
		if e.Log.Err {
			kind = 2
		}
		m := message{}.message(1, e.Log.Payload).number(2, kind).number(3, uint64(e.Time.UnixNano())).text(4, e.SourceID).
			text(5, e.Tags["source_type"]).text(6, e.InstanceID)
		return [][]byte{envelope(e, typeLogMessage, fieldLogMessage, m)}
	case e.Counter != nil:
		m := message{}.text(1, e.Counter.Name).number(2, e.Counter.Delta).number(3, e.Counter.Total)
		return [][]byte{envelope(e, typeCounterEvent, fieldCounterEvent, m)}
	case e.Gauge != nil:
		if m, ok := container(e); ok {
			return [][]byte{envelope(e, typeContainerMetric, fieldContainerMetric, m)}
		}
		var out [][]byte
		for _, name := range slices.Sorted(maps.Keys(e.Gauge)) {
			m := message{}.text(1, name).float(2, e.Gauge[name].Value).text(3, e.Gauge[name].Unit)
			out = append(out, envelope(e, typeValueMetric, fieldValueMetric, m))
		}
		return out
	}
	return nil
}

// container makes the ContainerMetric of a gauge that has all of its fields.
func container(e *cf.Envelope) (message, bool) {
	m := message{}.text(1, e.SourceID)
	index, err := strconv.ParseUint(e.InstanceID, 10, 31)
	if err != nil || !hasAll(e.Gauge, []string{"cpu", "memory", "disk", "memory_quota", "disk_quota"}) {
		return nil, false
	}
	m = m.number(2, index).float(3, e.Gauge["cpu"].Value)
	for i, name := range []string{"memory", "disk", "memory_quota", "disk_quota"} {
		m = m.number(protowire.Number(4+i), uint64(e.Gauge[name].Value))
	}
	return m, true
}

func envelope(e *cf.Envelope, kind uint64, field protowire.Number, m message) []byte {
	out := message{}.text(1, e.Tags["origin"]).number(2, kind).number(6, uint64(e.Time.UnixNano())).message(field, m)
	for _, k := range slices.Sorted(maps.Keys(e.Tags)) {
		out = out.message(fieldTags, message{}.text(1, k).text(2, e.Tags[k]))
	}
	return out
}
