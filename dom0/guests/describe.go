package guests

import (
	"net"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// describe returns the guest as the API shows it.
func (m *Manager) describe(g *guest) *gozenv1.Guest {
	g.mu.Lock()
	s, v := g.status, g.vm
	g.mu.Unlock()
	st := &gozenv1.GuestStatus{
		State:        s.state,
		Reason:       s.reason,
		ReasonCode:   s.code,
		Restarts:     s.restarts,
		DeviceErrors: s.deviceErrors,
	}
	if !s.startedAt.IsZero() {
		st.StartedAt = timestamppb.New(s.startedAt)
	}
	if !s.endedAt.IsZero() {
		st.EndedAt = timestamppb.New(s.endedAt)
	}
	if v != nil {
		st.VmmPid = int32(v.PID)
		st.VsockCid = v.CID
	}
	for i, n := range g.spec.Nics {
		nic := &gozenv1.NicStatus{Network: n.Network, Mac: n.Mac}
		if v != nil && i < len(v.Taps) {
			nic.Vhost = v.Taps[i].Vhost
			nic.Address = m.address(n.Mac)
		}
		st.Nics = append(st.Nics, nic)
	}
	return &gozenv1.Guest{
		Id:        g.id,
		CreatedAt: timestamppb.New(g.created),
		Spec:      proto.CloneOf(g.spec),
		Status:    st,
	}
}

func (m *Manager) address(mac string) string {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return ""
	}
	network, err := m.network()
	if err != nil {
		return ""
	}
	addr, ok := network.Address(hw)
	if !ok {
		return ""
	}
	return addr.String()
}
