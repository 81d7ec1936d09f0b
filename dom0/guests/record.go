package guests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// specVersion is the version of specRecord's form.
const specVersion = 1

// specRecord is the durable form of what the admin asked for.
type specRecord struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"` // 32 hexadecimal digits
	CreatedAt time.Time `json:"created_at"`
	Spec      specJSON  `json:"spec"`
}

// statusRecord is the durable form of what is so. Only what cannot be seen again
// after a restart is in it.
type statusRecord struct {
	State      string    `json:"state"` // a GuestState's name
	Reason     string    `json:"reason,omitempty"`
	ReasonCode string    `json:"reason_code,omitempty"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Restarts   uint32    `json:"restarts,omitempty"`
	// Restarting says that the restart policy will start the guest again.
	Restarting bool `json:"restarting,omitempty"`
}

// specJSON writes a spec by protobuf's JSON mapping. protojson varies its white
// space on purpose; the encoder of the record around it makes it regular again.
type specJSON struct{ *gozenv1.GuestSpec }

func (s specJSON) MarshalJSON() ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(s.GuestSpec)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (s *specJSON) UnmarshalJSON(b []byte) error {
	s.GuestSpec = new(gozenv1.GuestSpec)
	return protojson.Unmarshal(b, s.GuestSpec) // strict: unknown fields are errors
}

// checkSpec judges a record that was read from the disk.
func checkSpec(name string, r *specRecord) error {
	if r.Version != specVersion {
		return fmt.Errorf("version %d: this program knows %d", r.Version, specVersion)
	}
	if !validID(r.ID) {
		return fmt.Errorf("identifier %q", r.ID)
	}
	if r.Spec.GuestSpec == nil || r.Spec.Name != name {
		return fmt.Errorf("spec is of another guest than the file's name says")
	}
	// Whether the host has the processors and memory is for the next start.
	_, err := complete(r.Spec.GuestSpec, int(r.Spec.Vcpus), r.Spec.MemoryBytes)
	return err
}

func checkStatus(_ string, r *statusRecord) error {
	if _, ok := gozenv1.GuestState_value[r.State]; !ok {
		return fmt.Errorf("state %q", r.State)
	}
	return nil
}

func validID(id string) bool {
	if len(id) != 32 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
