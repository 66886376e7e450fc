package spec

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// VRF is the routing domain in the guest that the interface is put into (--vrf). Its zero
// value: none.
type VRF struct {
	Name  string `json:"name"`
	Table int    `json:"table"` // of routes; asked for, 0: that of the VRF that is there, or a free one
}

const vrfFlag = "--vrf"

// String returns the word that parses to v.
func (v VRF) String() string {
	if v.Table == 0 {
		return v.Name
	}
	return v.Name + ",table=" + strconv.Itoa(v.Table)
}

// Fits reports whether a VRF that is there is as v asks.
func (v VRF) Fits(there VRF) bool {
	return v.Name == there.Name && (v.Table == 0 || v.Table == there.Table)
}

// parseVRF reads the word, and refuses what does not go with a VRF. All else of s is known
// by then.
func parseVRF(word string, s *Spec) (v VRF, err error) {
	if word == "" {
		return v, nil
	}
	name, option, more := strings.Cut(word, ",")
	if why := CheckName(name); why != "" {
		return v, fault.BadWord("read "+vrfFlag, word, "%q cannot be the name of a VRF: %s", name, why)
	}
	v.Name = name
	if table, ok := strings.CutPrefix(option, "table="); ok {
		if v.Table, err = parseTable(table); err != nil {
			return v, err
		}
		if v.Table == 0 || v.Table == unix.RT_TABLE_DEFAULT {
			return v, fault.BadWord("read "+vrfFlag, word, "the table %s is for what is in no VRF", table)
		}
	} else if more {
		return v, fault.BadWord("read "+vrfFlag, word, "%q is no option", option).WithHint("%s,table=10", name)
	}
	return v, s.checkVRF(v)
}

func (s *Spec) checkVRF(v VRF) error {
	switch {
	case s.IfName == v.Name:
		return fault.BadWord("read "+vrfFlag, v.Name, "the interface itself has that name")
	case s.From.Kind != FromLine && s.From.Kind != FromSLAAC:
		return fault.BadWord("read flag", vrfFlag, "the routes of a lease go into the main table, not into that of a VRF").
			WithHint("give an address, or use slaac")
	case s.SourceRouting:
		return fault.BadWord("read flag", vrfFlag, "the replies of an interface in a VRF leave by the VRF anyway").
			WithHint("leave --source-routing out")
	case slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Table != 0 }):
		return fault.BadWord("read flag", vrfFlag, "the routes of an interface in a VRF are in the table of that VRF").
			WithHint("leave the table of --route out")
	}
	return nil
}
