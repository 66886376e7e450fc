package topology

import (
	"encoding/json"

	"github.com/gopipework/gopipework/internal/spec"
)

// object is a part of a JSON schema.
type object map[string]any

// Schema returns the JSON schema of a file, from which an editor completes it. It has the
// keys that Parse takes, and says which type each value has; what is inside a line, Parse
// alone knows.
func Schema(g Grammar) []byte {
	out, err := json.MarshalIndent(object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "gopipework topology",
		"description": "Which attachments and links between guests there are to be on a host.",
		"$defs": object{
			"word":  word("A word of a line."),
			"words": object{"anyOf": []object{ref("word"), list(ref("word"))}},
		},
		"type":                 []string{"object", "null"},
		"additionalProperties": false,
		"properties": object{
			keyName: object{"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "maxLength": spec.MaxOriginName,
				"description": "The name of the topology: that of the file, if it is missing."},
			keyBridges: object{"type": []string{"object", "null"}, "description": "The bridges of the host, by their names.",
				"propertyNames":        object{"maxLength": spec.MaxLinkName},
				"additionalProperties": bridgeSchema()},
			keyAttachments: entries("Interfaces for guests, each as a line after gopipework attach, or as a map.", attachmentSchema(g)),
			keyLinks:       entries("Links between two guests, each as a line after gopipework link, or as a map.", linkSchema(g)),
		},
	}, "", "  ")
	if err != nil { // it holds nothing that cannot be written
		panic(err)
	}
	return append(out, '\n')
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

func list(of object) object { return object{"type": "array", "items": of} }

// word is a word of a line: YAML may take it for a number.
func word(description string) object {
	return object{"type": []string{"string", "number"}, "minLength": 1, "description": description}
}

// words is a word, or a list of them.
func words(description string) object {
	w := ref("words")
	w["description"] = description
	return w
}

func boolean(description string) object {
	return object{"type": "boolean", "description": description}
}

// entries is a list of lines and maps.
func entries(description string, asMap object) object {
	return object{
		"type": []string{"array", "null"}, "description": description,
		"items": object{"anyOf": []object{{"type": "string", "minLength": 1}, asMap}},
	}
}

func bridgeSchema() object {
	return object{
		"type": []string{"object", "null"}, "additionalProperties": false,
		"properties": object{
			keyAddress:       words("The host's own addresses on the bridge, such as 192.168.1.1/24."),
			keyMTU:           object{"type": "integer", "minimum": spec.MinMTU, "maximum": spec.MaxMTU, "description": "The MTU in bytes."},
			keyUplink:        word("An interface of the host that is to be a port of the bridge, or a VXLAN to other hosts: vxlan:VNI,local=A[,port=N][,peer=B]..."),
			keyForce:         boolean("Take the uplink although it has a global address or a default route."),
			keyVLANFiltering: boolean("Turn on VLAN filtering."),
		},
	}
}

func attachmentSchema(g Grammar) object {
	properties := object{
		keyTo:      word("The host interface: a bridge, a network card, or KIND:NAME."),
		keyGuest:   word("The guest: a container, or KIND:NAME."),
		keyAddress: words("Addresses, such as 192.168.1.2/24@192.168.1.1; dhcp, dhcp6 or slaac; 0/0 for none. It may be missing with wireguard:FILE alone."),
		keyMAC:     word("The MAC address, U:TEXT to derive one from the text, or U: from the names of the guest and the interface, which is the default."),
		keyVLAN:    word("The VLAN, such as 10 or 10,20-30."),
	}
	flagsInto(properties, g.AttachFlags)
	return object{"type": "object", "additionalProperties": false, "properties": properties, "required": []string{keyTo, keyGuest}, "anyOf": []object{
		{"required": []string{keyAddress}},
		{"properties": object{keyTo: object{"pattern": "^" + string(spec.KindWireGuard) + ":"}}},
	}}
}

func linkSchema(g Grammar) object {
	properties := object{
		keyEnds: object{
			"type": "array", "items": object{"type": "string", "minLength": 1}, "minItems": 2, "maxItems": 2,
			"description": "The two ends, each GUEST[:IFNAME] ADDRESS.",
		},
	}
	flagsInto(properties, g.LinkFlags)
	return object{"type": "object", "additionalProperties": false, "properties": properties, "required": []string{keyEnds}}
}

// flagsInto adds the flags of a line, as flagOf reads them.
func flagsInto(properties object, flags []Flag) {
	for _, f := range flags {
		usage := f.Typed + ": " + f.Usage
		switch {
		case f.Bool:
			properties[f.Name] = boolean(usage)
		case f.Many:
			properties[f.Name] = words(usage)
		default:
			properties[f.Name] = word(usage)
		}
	}
}
