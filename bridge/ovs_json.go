package bridge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What ovs-vsctl prints with --format=json --data=json: a table of headings
// and rows, whose values have the notation of RFC 7047, section 5.1.

// ovsReadArgs asks for six tables in one go, as one transaction.
func ovsReadArgs() []string {
	return []string{
		"--format=json", "--data=json",
		"--columns=name,datapath_type,external_ids,ports,fail_mode,controller,stp_enable,rstp_enable,other_config,mirrors", "list", "Bridge", "--",
		"--columns=_uuid,name,tag,trunks,vlan_mode,interfaces,status,rstp_status,protected", "list", "Port", "--",
		"--columns=_uuid,name,external_ids,ofport,error,type,options,ifindex", "list", "Interface", "--",
		"--columns=_uuid,target,is_connected,status", "list", "Controller", "--",
		"--columns=other_config", "list", "Open_vSwitch", "--",
		"--columns=_uuid,name,external_ids,select_src_port,select_dst_port,output_port", "list", "Mirror",
	}
}

type bridgeRow struct {
	Name     string             `json:"name"`
	Datapath string             `json:"datapath_type"`
	IDs      ovsMap             `json:"external_ids"`
	Ports    ovsSet[ovsPointer] `json:"ports"`

	FailMode    ovsSet[string]     `json:"fail_mode"`
	Controllers ovsSet[ovsPointer] `json:"controller"`
	STP         bool               `json:"stp_enable"`
	RSTP        bool               `json:"rstp_enable"`
	Config      ovsMap             `json:"other_config"`
	Mirrors     ovsSet[ovsPointer] `json:"mirrors"`
}

type portRow struct {
	UUID       ovsPointer         `json:"_uuid"`
	Name       string             `json:"name"`
	Tag        ovsSet[int]        `json:"tag"`
	Trunks     ovsSet[int]        `json:"trunks"`
	Mode       ovsSet[string]     `json:"vlan_mode"`
	Interfaces ovsSet[ovsPointer] `json:"interfaces"`
	Status     ovsMap             `json:"status"`
	RSTPStatus ovsMap             `json:"rstp_status"`
	Protected  bool               `json:"protected"`
}

type interfaceRow struct {
	UUID   ovsPointer     `json:"_uuid"`
	Name   string         `json:"name"`
	IDs    ovsMap         `json:"external_ids"`
	Number ovsSet[int]    `json:"ofport"`
	Error  ovsSet[string] `json:"error"`

	Type    string      `json:"type"`
	Options ovsMap      `json:"options"`
	Index   ovsSet[int] `json:"ifindex"`
}

type controllerRow struct {
	UUID      ovsPointer `json:"_uuid"`
	Target    string     `json:"target"`
	Connected bool       `json:"is_connected"`
	Status    ovsMap     `json:"status"`
}

type globalRow struct {
	Config ovsMap `json:"other_config"`
}

// ovsTables is the answer to ovsReadArgs.
type ovsTables struct {
	bridges     []bridgeRow
	ports       map[ovsPointer]portRow
	interfaces  map[ovsPointer]interfaceRow
	controllers map[ovsPointer]controllerRow
	mirrors     map[ovsPointer]mirrorRow
	global      []globalRow
}

// parseOVS reads the answer to ovsReadArgs: the Bridges, and what holds for all of them.
func parseOVS(r io.Reader) (o OVS, err error) {
	t := ovsTables{
		ports: map[ovsPointer]portRow{}, interfaces: map[ovsPointer]interfaceRow{}, controllers: map[ovsPointer]controllerRow{},
		mirrors: map[ovsPointer]mirrorRow{},
	}
	d := json.NewDecoder(r)
	for _, read := range []func(*json.Decoder) error{
		rows(func(row bridgeRow) { t.bridges = append(t.bridges, row) }),
		rows(func(row portRow) { t.ports[row.UUID] = row }),
		rows(func(row interfaceRow) { t.interfaces[row.UUID] = row }),
		rows(func(row controllerRow) { t.controllers[row.UUID] = row }),
		rows(func(row globalRow) { t.global = append(t.global, row) }),
		rows(func(row mirrorRow) { t.mirrors[row.UUID] = row }),
	} {
		if err := read(d); err != nil {
			return OVS{}, err
		}
	}
	for _, row := range t.bridges {
		o.Bridges = append(o.Bridges, t.bridge(row))
	}
	slices.SortFunc(o.Bridges, func(a, b OVSBridge) int { return strings.Compare(a.Name, b.Name) })
	o.Segments = first(t.global).Config["userspace-tso-enable"] == "true"
	return o, nil
}

func (t ovsTables) bridge(row bridgeRow) OVSBridge {
	b := OVSBridge{Name: row.Name, Datapath: row.Datapath, Ours: row.IDs[ovsMarkKey] == ovsBridgeMark, Origin: row.IDs[ovsOriginKey],
		Secure: first(row.FailMode) == "secure", STP: row.STP, RSTP: row.RSTP}
	if row.STP || row.RSTP {
		b.ForwardDelay = row.forwardDelay()
	}
	for _, u := range row.Controllers {
		c := t.controllers[u]
		b.Controllers = append(b.Controllers, OVSController{c.Target, c.Connected, c.Status["last_error"]})
	}
	for _, u := range row.Ports {
		for _, i := range t.ports[u].Interfaces {
			p := t.ports[u].port(t.interfaces[i])
			p.Bridge = b.Name
			if p.Name == b.Name {
				b.Made, b.Error = p.Number > 0, p.Error
				continue
			}
			b.Ports = append(b.Ports, p)
		}
	}
	b.Mirrors = t.mirrorsOf(row)
	slices.SortFunc(b.Ports, func(a, b OVSPort) int { return strings.Compare(a.Name, b.Name) })
	return b
}

// forwardDelay is 15 seconds if nothing is said (ovs-vswitchd.conf.db(5)).
func (row bridgeRow) forwardDelay() time.Duration {
	key := "rstp-forward-delay"
	if row.STP {
		key = "stp-forward-delay"
	}
	if seconds, err := strconv.Atoi(row.Config[key]); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return 15 * time.Second
}

func (row portRow) port(i interfaceRow) OVSPort {
	p := OVSPort{Name: i.Name, Mark: i.IDs[ovsMarkKey], Mode: first(row.Mode), Number: first(i.Number), Error: first(i.Error),
		State: cmp.Or(row.Status["stp_state"], row.RSTPStatus["rstp_port_state"]),
		Type:  i.Type, Index: first(i.Index), Peer: i.Options["peer"], Remote: i.Options["remote_ip"], Protected: row.Protected}
	if len(row.Interfaces) > 1 {
		p.Bond = row.Name
	}
	for key, value := range i.IDs {
		if key == ovsMarkKey {
			continue
		}
		if p.IDs == nil {
			p.IDs = map[string]string{}
		}
		p.IDs[key] = value
	}
	p.VLAN.PVID = first(row.Tag)
	slices.Sort(row.Trunks)
	for _, tag := range row.Trunks {
		p.VLAN.Tagged = append(p.VLAN.Tagged, TagRange{tag, tag})
	}
	p.VLAN.Tagged = joinTags(p.VLAN.Tagged)
	return p
}

// first returns the value of a column that has one or none.
func first[S ~[]T, T any](set S) (value T) {
	if len(set) > 0 {
		value = set[0]
	}
	return value
}

// rows returns what reads one table and adds its rows.
func rows[T any](add func(T)) func(*json.Decoder) error {
	return func(d *json.Decoder) error {
		var table struct {
			Headings []string
			Data     [][]json.RawMessage
		}
		if err := d.Decode(&table); err != nil {
			return err
		}
		for _, cells := range table.Data {
			row, err := decodeRow[T](table.Headings, cells)
			if err != nil {
				return err
			}
			add(row)
		}
		return nil
	}
}

func decodeRow[T any](headings []string, cells []json.RawMessage) (row T, err error) {
	if len(cells) != len(headings) {
		return row, fmt.Errorf("a row of %d columns has %d", len(headings), len(cells))
	}
	object := map[string]json.RawMessage{}
	for i, heading := range headings {
		object[heading] = cells[i]
	}
	text, err := json.Marshal(object)
	if err != nil {
		return row, err
	}
	return row, json.Unmarshal(text, &row)
}

// tagged takes ["word", VALUE] apart; ok is false for anything else.
func tagged(text []byte, word string) (value json.RawMessage, ok bool) {
	var pair []json.RawMessage
	if json.Unmarshal(text, &pair) != nil || len(pair) != 2 {
		return nil, false
	}
	var head string
	if json.Unmarshal(pair[0], &head) != nil || head != word {
		return nil, false
	}
	return pair[1], true
}

// ovsSet is ["set", [...]], or one value by itself.
type ovsSet[T any] []T

func (s *ovsSet[T]) UnmarshalJSON(text []byte) error {
	if list, ok := tagged(text, "set"); ok {
		return json.Unmarshal(list, (*[]T)(s))
	}
	*s = make([]T, 1)
	return json.Unmarshal(text, &(*s)[0])
}

// ovsMap is ["map", [[KEY, VALUE], ...]].
type ovsMap map[string]string

func (m *ovsMap) UnmarshalJSON(text []byte) error {
	list, ok := tagged(text, "map")
	if !ok {
		return fmt.Errorf("%.40q is not a map", text)
	}
	var pairs [][2]string
	if err := json.Unmarshal(list, &pairs); err != nil {
		return err
	}
	*m = ovsMap{}
	for _, p := range pairs {
		(*m)[p[0]] = p[1]
	}
	return nil
}

// ovsPointer is ["uuid", "..."]: the name of another row.
type ovsPointer string

func (u *ovsPointer) UnmarshalJSON(text []byte) error {
	id, ok := tagged(text, "uuid")
	if !ok {
		return fmt.Errorf("%.40q is not a UUID", text)
	}
	return json.Unmarshal(id, (*string)(u))
}
