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

// ovsReadArgs asks for three tables in one go, as one transaction.
func ovsReadArgs() []string {
	return []string{
		"--format=json", "--data=json",
		"--columns=name,datapath_type,external_ids,ports,fail_mode,controller,stp_enable,rstp_enable,other_config", "list", "Bridge", "--",
		"--columns=_uuid,tag,trunks,vlan_mode,interfaces,status,rstp_status", "list", "Port", "--",
		"--columns=_uuid,name,external_ids,ofport,error", "list", "Interface",
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
}

type portRow struct {
	UUID       ovsPointer         `json:"_uuid"`
	Tag        ovsSet[int]        `json:"tag"`
	Trunks     ovsSet[int]        `json:"trunks"`
	Mode       ovsSet[string]     `json:"vlan_mode"`
	Interfaces ovsSet[ovsPointer] `json:"interfaces"`
	Status     ovsMap             `json:"status"`
	RSTPStatus ovsMap             `json:"rstp_status"`
}

type interfaceRow struct {
	UUID   ovsPointer     `json:"_uuid"`
	Name   string         `json:"name"`
	IDs    ovsMap         `json:"external_ids"`
	Number ovsSet[int]    `json:"ofport"`
	Error  ovsSet[string] `json:"error"`
}

// parseOVS reads the answer to ovsReadArgs.
func parseOVS(r io.Reader) ([]OVSBridge, error) {
	d := json.NewDecoder(r)
	bridges, err := decodeRows[bridgeRow](d)
	if err != nil {
		return nil, err
	}
	portRows, err := decodeRows[portRow](d)
	if err != nil {
		return nil, err
	}
	interfaceRows, err := decodeRows[interfaceRow](d)
	if err != nil {
		return nil, err
	}
	ports := map[ovsPointer]portRow{}
	for _, p := range portRows {
		ports[p.UUID] = p
	}
	interfaces := map[ovsPointer]interfaceRow{}
	for _, i := range interfaceRows {
		interfaces[i.UUID] = i
	}
	var out []OVSBridge
	for _, row := range bridges {
		out = append(out, row.bridge(ports, interfaces))
	}
	slices.SortFunc(out, func(a, b OVSBridge) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (row bridgeRow) bridge(ports map[ovsPointer]portRow, interfaces map[ovsPointer]interfaceRow) OVSBridge {
	b := OVSBridge{Name: row.Name, Datapath: row.Datapath, Ours: row.IDs[ovsMarkKey] == ovsBridgeMark, Origin: row.IDs[ovsOriginKey],
		Secure: first(row.FailMode) == "secure", Controlled: len(row.Controllers) > 0, STP: row.STP, RSTP: row.RSTP}
	if row.STP || row.RSTP {
		b.ForwardDelay = row.forwardDelay()
	}
	for _, u := range row.Ports {
		for _, i := range ports[u].Interfaces {
			p := ports[u].port(interfaces[i])
			p.Bridge = b.Name
			if p.Name == b.Name {
				b.Made, b.Error = p.Number > 0, p.Error
				continue
			}
			b.Ports = append(b.Ports, p)
		}
	}
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
		State: cmp.Or(row.Status["stp_state"], row.RSTPStatus["rstp_port_state"])}
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
func first[T any](set ovsSet[T]) (value T) {
	if len(set) > 0 {
		value = set[0]
	}
	return value
}

// decodeRows reads one table.
func decodeRows[T any](d *json.Decoder) ([]T, error) {
	var table struct {
		Headings []string
		Data     [][]json.RawMessage
	}
	if err := d.Decode(&table); err != nil {
		return nil, err
	}
	var rows []T
	for _, cells := range table.Data {
		if len(cells) != len(table.Headings) {
			return nil, fmt.Errorf("a row of %d columns has %d", len(table.Headings), len(cells))
		}
		object := map[string]json.RawMessage{}
		for i, heading := range table.Headings {
			object[heading] = cells[i]
		}
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		var row T
		if err := json.Unmarshal(text, &row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
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
