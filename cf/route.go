package cf

// RouteMessage is the body of CF's NATS subjects router.register and router.unregister (gorouter's README; systems.md
// §11.2). Our router answers a message that carries a reply subject once it has applied it.
type RouteMessage struct {
	Host          string            `json:"host"`
	Port          int               `json:"port"`
	Protocol      string            `json:"protocol,omitempty"` // http1 (default) or http2
	URIs          []string          `json:"uris"`
	App           string            `json:"app,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	InstanceID    string            `json:"private_instance_id,omitempty"`
	InstanceIndex string            `json:"private_instance_index,omitempty"`
	StaleSeconds  int               `json:"stale_threshold_in_seconds,omitempty"`
	UpdatedNS     int64             `json:"endpoint_updated_at_ns,omitempty"`
	Options       map[string]string `json:"options,omitempty"`
	Weight        int               `json:"weight,omitempty"` // ours: absent means equal shares
}

// RouterStart is the body of router.start and the answer to router.greet.
type RouterStart struct {
	ID              string   `json:"id"`
	Hosts           []string `json:"hosts"`
	IntervalSeconds int      `json:"minimumRegisterIntervalInSeconds"`
	PruneSeconds    int      `json:"pruneThresholdInSeconds"`
}
