package build

import (
	"fmt"
	"strings"

	"github.com/gopipework/gopipework/internal/spec"
)

// Difference is something in which an attachment that is there is not as asked.
type Difference struct{ What, There, Asked string }

// Differs is the cause of an error about an attachment that is there and is not as asked.
type Differs struct {
	Is    string      // that there is one, and whose it is: "eth1 exists already"
	Owner spec.Origin // who asked for it
	All   []Difference
}

func (d *Differs) Error() string {
	var is, asked []string
	for _, one := range d.All {
		is = append(is, one.What+" "+one.There)
		if len(d.All) > 1 { // which belongs to which
			one.Asked = one.What + " " + one.Asked
		}
		asked = append(asked, one.Asked)
	}
	return fmt.Sprintf("%s, with %s; the line asks for %s", d.Is, strings.Join(is, ", "), strings.Join(asked, ", "))
}
