package guestspec

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// maxSerial is the length of a virtio-blk serial number in bytes (virtio 1.2,
// 5.2.6.1).
const maxSerial = 20

// DiskForm and NicForm say how --disk and --nic values look.
const (
	DiskForm = "VOLUME[,ro][,serial=TEXT]"
	NicForm  = "NETWORK[,mac=AA:BB:CC:DD:EE:FF][,userspace]"
)

// NoNic is the --nic value for a guest without any network device.
const NoNic = "none"

// ParseDisk reads a --disk value, see DiskForm.
func ParseDisk(s string) (*gozenv1.Disk, error) {
	volume, options, err := split(s, "volume", DiskForm)
	if err != nil {
		return nil, fmt.Errorf("disk %q: %w", s, err)
	}
	disk := &gozenv1.Disk{Volume: volume}
	for _, o := range options {
		switch {
		case o.key == "ro" && !o.hasValue:
			disk.ReadOnly = true
		case o.key == "rw" && !o.hasValue:
			disk.ReadOnly = false
		case o.key == "serial" && o.hasValue:
			if err := checkSerial(o.value); err != nil {
				return nil, fmt.Errorf("disk %q: %w", s, err)
			}
			disk.Serial = o.value
		default:
			return nil, fmt.Errorf("disk %q: unknown option %q; want %s", s, o, DiskForm)
		}
	}
	return disk, nil
}

func checkSerial(s string) error {
	if s == "" || len(s) > maxSerial {
		return fmt.Errorf("a serial number has 1 to %d characters, not %d", maxSerial, len(s))
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("serial number %q: only printable ASCII without spaces", s)
	}
	return nil
}

// ParseNic reads a --nic value, see NicForm.
func ParseNic(s string) (*gozenv1.Nic, error) {
	network, options, err := split(s, "network", NicForm)
	if err != nil {
		return nil, fmt.Errorf("nic %q: %w", s, err)
	}
	nic := &gozenv1.Nic{Network: network}
	for _, o := range options {
		switch {
		case o.key == "userspace" && !o.hasValue:
			nic.Userspace = true
		case o.key == "mac" && o.hasValue:
			mac, err := net.ParseMAC(o.value)
			switch {
			case err != nil || len(mac) != 6:
				return nil, fmt.Errorf("nic %q: %q is no MAC address; want six bytes such as 52:54:00:12:34:56", s, o.value)
			case mac[0]&1 != 0:
				return nil, fmt.Errorf("nic %q: MAC address %s is a multicast address; its first byte must be even", s, mac)
			}
			nic.Mac = mac.String()
		default:
			return nil, fmt.Errorf("nic %q: unknown option %q; want %s", s, o, NicForm)
		}
	}
	return nic, nil
}

type option struct {
	key, value string
	hasValue   bool
}

func (o option) String() string {
	if o.hasValue {
		return o.key + "=" + o.value
	}
	return o.key
}

// split takes "name,option,key=value" apart.
func split(s, what, form string) (string, []option, error) {
	fields := strings.Split(s, ",")
	if fields[0] == "" {
		return "", nil, fmt.Errorf("no %s named; want %s", what, form)
	}
	if strings.Contains(fields[0], "=") {
		return "", nil, fmt.Errorf("the %s comes first, without a key; want %s", what, form)
	}
	var options []option
	for _, field := range fields[1:] {
		var o option
		o.key, o.value, o.hasValue = strings.Cut(field, "=")
		if slices.ContainsFunc(options, func(p option) bool { return p.key == o.key }) {
			return "", nil, fmt.Errorf("option %q is there twice", o.key)
		}
		options = append(options, o)
	}
	return fields[0], options, nil
}

// ParseLabel reads KEY=VALUE. The value may be empty or contain "=".
func ParseLabel(s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return "", "", fmt.Errorf("label %q: want KEY=VALUE", s)
	}
	return key, value, nil
}

var restartPolicies = map[string]gozenv1.RestartPolicy{
	"never":    gozenv1.RestartPolicy_RESTART_POLICY_NEVER,
	"on-crash": gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH,
	"always":   gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS,
}

// RestartPolicies returns the names ParseRestart knows.
func RestartPolicies() []string { return []string{"never", "on-crash", "always"} }

// ParseRestart reads a restart policy by its name.
func ParseRestart(s string) (gozenv1.RestartPolicy, error) {
	policy, ok := restartPolicies[s]
	if !ok {
		return 0, fmt.Errorf("restart policy %q: want %s", s, strings.Join(RestartPolicies(), ", "))
	}
	return policy, nil
}

// RestartName writes a restart policy; the unspecified one is "never".
func RestartName(p gozenv1.RestartPolicy) string {
	for name, policy := range restartPolicies {
		if policy == p {
			return name
		}
	}
	return "never"
}

// States are the names of guest states, in the order a guest goes through them.
func States() []string {
	return []string{"stopped", "starting", "running", "stopping", "crashed"}
}

// ParseState reads a guest state by its name.
func ParseState(s string) (gozenv1.GuestState, error) {
	if !slices.Contains(States(), s) {
		return 0, fmt.Errorf("guest state %q: want %s", s, strings.Join(States(), ", "))
	}
	return gozenv1.GuestState(gozenv1.GuestState_value["GUEST_STATE_"+strings.ToUpper(s)]), nil
}

// StateName writes a guest state; one that this program does not know is
// "unknown".
func StateName(s gozenv1.GuestState) string {
	name, ok := gozenv1.GuestState_name[int32(s)]
	if !ok || s == gozenv1.GuestState_GUEST_STATE_UNSPECIFIED {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(name, "GUEST_STATE_"))
}

// Decode reads a GuestSpec in JSON, as "gozen guest inspect -o json" shows it
// under "spec". Unknown fields are errors, because a misspelt one would be lost.
func Decode(data []byte) (*gozenv1.GuestSpec, error) {
	spec := &gozenv1.GuestSpec{}
	if err := protojson.Unmarshal(data, spec); err != nil {
		// The library puts a no-break space after its prefix in some builds.
		text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
		return nil, errors.New(strings.TrimPrefix(text, "proto: "))
	}
	return spec, nil
}
