package rlp

import (
	"encoding/json"
	"maps"
	"math"
	"strconv"

	"ingot/cf"
)

// batch is an EnvelopeBatch in protojson with the names of the .proto files: 64-bit integers are strings, bytes are base64, and there is no field that the
// messages do not have.
func batch(envelopes []cf.Envelope) []byte {
	type object = map[string]any
	list := make([]object, 0, len(envelopes))
	for _, e := range envelopes {
		tags := maps.Clone(e.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		o := object{"timestamp": number(e.Time.UnixNano()), "source_id": e.SourceID, "instance_id": e.InstanceID, "tags": tags}
		switch {
		case e.Log != nil:
			kind := "OUT"
			if e.Log.Err {
				kind = "ERR"
			}
			o["log"] = object{"payload": e.Log.Payload, "type": kind}
		case e.Counter != nil:
			o["counter"] = object{"name": e.Counter.Name, "delta": strconv.FormatUint(e.Counter.Delta, 10), "total": strconv.FormatUint(e.Counter.Total, 10)}
		case e.Gauge != nil:
			metrics := object{}
			for name, g := range e.Gauge {
				metrics[name] = object{"unit": g.Unit, "value": float(g.Value)}
			}
			o["gauge"] = object{"metrics": metrics}
		case e.Timer != nil:
			o["timer"] = object{"name": e.Timer.Name, "start": number(e.Timer.Start.UnixNano()), "stop": number(e.Timer.Stop.UnixNano())}
		}
		list = append(list, o)
	}
	b, _ := json.Marshal(object{"batch": list}) // of strings, bytes and finite numbers
	return b
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// float is a number, or its name in protojson where JSON has none.
func float(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return f
}
