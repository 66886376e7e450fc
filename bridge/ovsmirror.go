package bridge

// OVSMirror copies the frames of one port of an Open vSwitch bridge to another of its ports.
// That one passes nothing else: it is sent no other frames, and those that come in by it
// are dropped (ovs-vswitchd.conf.db(5), Mirror).
type OVSMirror struct {
	Bridge, Name string
	From, To     string // the ports; "" for one that has gone
	In, Out      bool   // copies what is sent to From, what comes in by it
}

// NewOVSMirror returns a mirror under the name that it has for the two ports.
func NewOVSMirror(bridge, from, to string, in, out bool) OVSMirror {
	return OVSMirror{Bridge: bridge, Name: ovsMarkKey + "-" + to + "-" + from, From: from, To: to, In: in, Out: out}
}

const ovsMirrorMark = "mirror"

// AddCommand is the same as a person would type it.
func (m OVSMirror) AddCommand() string { return ovsCommand(m.addArgs()) }

// DeleteCommand is the same as a person would type it.
func (m OVSMirror) DeleteCommand() string { return ovsCommand(m.deleteArgs()) }

func (m OVSMirror) addArgs() []string {
	args := []string{
		"--id=@from", "get", "Port", m.From, "--", "--id=@to", "get", "Port", m.To, "--",
		"--id=@m", "create", "Mirror", "name=" + m.Name, ovsID(ovsMarkKey, ovsMirrorMark),
	}
	if m.Out {
		args = append(args, "select_src_port=@from")
	}
	if m.In {
		args = append(args, "select_dst_port=@from")
	}
	return append(args, "output_port=@to", "--", "add", "Bridge", m.Bridge, "mirrors", "@m")
}

func (m OVSMirror) deleteArgs() []string {
	return []string{"--id=@m", "get", "Mirror", m.Name, "--", "remove", "Bridge", m.Bridge, "mirrors", "@m"}
}

// mirrorRow is a row of the table Mirror.
type mirrorRow struct {
	UUID ovsPointer         `json:"_uuid"`
	Name string             `json:"name"`
	IDs  ovsMap             `json:"external_ids"`
	Src  ovsSet[ovsPointer] `json:"select_src_port"`
	Dst  ovsSet[ovsPointer] `json:"select_dst_port"`
	To   ovsSet[ovsPointer] `json:"output_port"`
}

// mirrorsOf returns those of a bridge that carry our mark.
func (t ovsTables) mirrorsOf(row bridgeRow) (all []OVSMirror) {
	for _, u := range row.Mirrors {
		m, there := t.mirrors[u]
		if !there || m.IDs[ovsMarkKey] != ovsMirrorMark {
			continue
		}
		all = append(all, OVSMirror{
			Bridge: row.Name, Name: m.Name, From: t.ports[first(append(m.Src, m.Dst...))].Name, To: t.ports[first(m.To)].Name,
			In: len(m.Dst) > 0, Out: len(m.Src) > 0,
		})
	}
	return all
}
