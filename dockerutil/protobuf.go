package dockerutil

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

var errNotProtobuf = errors.New("the answer is not a protobuf message")

// protobuf is a message in the wire format: fields with numbers, which only the
// caller can give names. The generated types would register themselves at the
// start of every run, whoever its guest is.
type protobuf []field

// field is one field of a message.
type field struct {
	id     protowire.Number
	number uint64 // of an integer, a bool or an enum
	bytes  []byte // of a string or an embedded message; nil for other types
}

// parseProtobuf reads a message. It skips the types that no answer here uses.
func parseProtobuf(b []byte) (protobuf, error) {
	var m protobuf
	for len(b) > 0 {
		id, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, errNotProtobuf
		}
		b = b[n:]
		f := field{id: id}
		switch kind {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(id, kind, b)
		}
		if n < 0 {
			return nil, errNotProtobuf
		}
		b = b[n:]
		m = append(m, f)
	}
	return m, nil
}

// last returns the last field with that number, which is the one that counts where
// a field is not repeated. A missing field is zero.
func (m protobuf) last(id protowire.Number) (f field) {
	for _, g := range m {
		if g.id == id {
			f = g
		}
	}
	return f
}

func (m protobuf) text(id protowire.Number) string { return string(m.last(id).bytes) }

func (m protobuf) number(id protowire.Number) uint64 { return m.last(id).number }

// in returns the message embedded in a field. It is empty if there is none.
func (m protobuf) in(id protowire.Number) protobuf {
	inner, _ := parseProtobuf(m.last(id).bytes)
	return inner
}

// all returns the messages of a repeated field.
func (m protobuf) all(id protowire.Number) []protobuf {
	var list []protobuf
	for _, f := range m {
		if f.id != id {
			continue
		}
		if inner, err := parseProtobuf(f.bytes); err == nil {
			list = append(list, inner)
		}
	}
	return list
}

// entry returns the value of key in a map<string, string>.
func (m protobuf) entry(id protowire.Number, key string) string {
	for _, e := range m.all(id) {
		if e.text(1) == key {
			return e.text(2)
		}
	}
	return ""
}

// appendText appends a string or an embedded message as field id.
func appendText(b []byte, id protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, id, protowire.BytesType), text)
}

// appendNumber appends an integer, a bool or an enum as field id.
func appendNumber(b []byte, id protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, id, protowire.VarintType), n)
}
