package cf

import (
	"context"
	"encoding/json"
)

// Binding is what an app is told of a service instance that it is bound to: one entry of VCAP_SERVICES, in the keys and the
// order of Cloud Foundry.
type Binding struct {
	Label          string          `json:"label"` // the offering; "user-provided" without one
	Name           string          `json:"name"`  // of the binding if it has one, else of the instance
	Tags           []string        `json:"tags"`
	InstanceGUID   string          `json:"instance_guid"`
	InstanceName   string          `json:"instance_name"`
	BindingGUID    string          `json:"binding_guid"`
	BindingName    *string         `json:"binding_name"`
	Credentials    json.RawMessage `json:"credentials"` // an object
	SyslogDrainURL *string         `json:"syslog_drain_url"`
	VolumeMounts   []any           `json:"volume_mounts"` // none yet
}

// Bindings is the door to what apps are bound to. Every call may be repeated.
type Bindings interface {
	// OfApp returns the app's bindings, one of each service instance (the newest), in the order in which they were made.
	OfApp(ctx context.Context, app AppID) ([]Binding, error)
	// Bind binds the app to the service instance of that name in its space, unless it is bound already; name is the
	// binding's, or "". An instance that is not there is KindNotFound, what else is refused KindUnprocessable.
	Bind(ctx context.Context, app AppID, instance, name string) error
	// ForgetApp deletes the bindings of an app that is gone.
	ForgetApp(ctx context.Context, app AppID) error
	// EmptySpace deletes the service instances of a space with their bindings.
	EmptySpace(ctx context.Context, space string) error
}
