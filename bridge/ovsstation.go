package bridge

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// OVSStation is a MAC address that an Open vSwitch bridge has learned, and sends frames
// for to one port alone.
type OVSStation struct {
	MAC    net.HardwareAddr
	VLAN   int           // 0: frames without a tag
	Port   string        // the link that it is behind; that of the bridge is the host itself; "": a port that has been added since the bridge was read
	Number int           // OpenFlow port number of that
	Age    time.Duration // since its last frame, in whole seconds
	Static bool          // written by hand; it has no Age
}

// localNumber is the OpenFlow port number of the link that has the bridge's name.
const localNumber = 65534

// parseStations reads what fdb/show prints: a line of headings, and lines of a port's
// number, a VLAN, a MAC address and an age.
func (b OVSBridge) parseStations(text string) ([]OVSStation, error) {
	names := map[int]string{localNumber: b.Name}
	for _, p := range b.Ports {
		names[p.Number] = p.Name
	}
	var all []OVSStation
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if i == 0 {
			continue
		}
		s, err := parseStation(line)
		if err != nil {
			return nil, fmt.Errorf("cannot read what ovs-appctl printed, %.80q: %w", line, err)
		}
		s.Port = names[s.Number]
		all = append(all, s)
	}
	return all, nil
}

func parseStation(line string) (s OVSStation, err error) {
	words := strings.Fields(line)
	if len(words) != 4 {
		return s, fmt.Errorf("it has %d columns, not 4", len(words))
	}
	if s.Number = localNumber; words[0] != "LOCAL" {
		if s.Number, err = strconv.Atoi(words[0]); err != nil {
			return s, err
		}
	}
	if s.VLAN, err = strconv.Atoi(words[1]); err != nil {
		return s, err
	}
	if s.MAC, err = net.ParseMAC(words[2]); err != nil {
		return s, err
	}
	if s.Static = words[3] == "static"; s.Static {
		return s, nil
	}
	seconds, err := strconv.Atoi(words[3])
	s.Age = time.Duration(seconds) * time.Second
	return s, err
}
