package attach

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// checkSame holds what is asked against an attachment that is there and
// complete: nil if it is the same. A difference is refused, saying what is
// there.
func checkSame(j *build.Job) error {
	if has := j.HasOrigin(); j.Origin().Claims() && has != j.Origin() && !j.Origin().Takes(has) {
		return j.Refuse(fault.Conflict, "%s exists already, and belongs to %s", j.Names.Inner, has).WithHint("%s", j.OrDetach())
	}
	all, flags := differences(j)
	if len(all) == 0 {
		return nil
	}
	whose := ""
	if has := j.HasOrigin(); has.Claims() {
		whose = fmt.Sprintf(" (it belongs to %s)", has)
	}
	e := j.Refuse(fault.Conflict, "%w", &build.Differs{Is: j.Names.Inner + " exists already" + whose, Owner: j.HasOrigin(), All: all})
	if len(flags) == len(all) {
		return e.WithHint("%s, or %s", setLines(j, flags), j.OrDetach())
	}
	return e.WithHint("%s", j.OrDetach())
}

// setLines are the lines of set with these flags. A port whose cable is pulled is not moved:
// then that is a line of its own.
func setLines(j *build.Job, flags []string) string {
	line := func(flags ...string) string {
		return fmt.Sprintf("gopipework set %s %s %s", j.Spec.Guest, j.Names.Inner, strings.Join(flags, " "))
	}
	moves := slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--to ") })
	if i := slices.Index(flags, kind.PlugInFlag); moves && i >= 0 {
		return line(flags[i]) + ", then " + line(slices.Delete(flags, i, i+1)...)
	}
	return line(flags...)
}

// differences returns all that there are, and the flags of set that end them,
// where there are any.
func differences(j *build.Job) (all []build.Difference, flags []string) {
	differ := func(what string, there, want any) {
		all = append(all, build.Difference{What: what, There: fmt.Sprint(there), Asked: fmt.Sprint(want)})
	}
	inner := j.There.Inner
	kind.KindOf(j.Kind).Differ(j, differ)
	for _, d := range all {
		switch d.What {
		case spec.PortIsolation:
			flags = append(flags, "--isolated "+d.Asked)
		case spec.Antispoof:
			flags = append(flags, "--antispoof "+d.Asked)
		case spec.HostAccess:
			flags = append(flags, "--host-access "+d.Asked)
		case spec.OnBridge:
			flags = append(flags, "--to "+j.HostIF.String())
		}
	}
	kind.MirrorsDiffer(j, differ)
	flags = append(flags, kind.CarrierDiffers(j, differ)...)
	if j.MAC != nil && !bytes.Equal(j.MAC, inner.MAC) {
		differ("MAC address", inner.MAC, j.MAC)
	}
	if j.MTU != 0 && j.MTU != inner.MTU {
		differ("MTU", inner.MTU, j.MTU)
		flags = append(flags, "--mtu "+strconv.Itoa(j.MTU))
	}
	line := j.From.Kind == FromLine && j.There.Lease == nil && j.There.Client == nil
	if there := ours.AddressesOf(inner, j.There.Addrs); line && !ours.SameSet(there, j.Addrs) {
		differ("address", spec.OrNone(spec.Join(there)), spec.OrNone(spec.Join(j.Addrs)))
		flags = append(flags, "--addr "+Spec{Addrs: j.Addrs}.AddressWord())
	}
	for _, s := range source.AddressSources {
		s.Differ(j, differ)
	}
	guestnet.VRFDiffers(j, differ)
	flags = append(flags, guestnet.DNSDiffers(j, differ)...)
	if there := ours.GatewaysOf(inner.Index, j.There.Routes); line && !ours.SameSet(there, j.Gateways) {
		differ("gateway", spec.OrNone(spec.Join(there)), spec.OrNone(spec.Join(j.Gateways)))
	}
	flags = append(flags, guestnet.RoutesDiffer(j, differ)...)
	flags = append(flags, guestnet.RepliesDiffer(j, differ)...)
	flags = append(flags, guestnet.ShapeDiffers(j, differ)...)
	return all, flags
}
