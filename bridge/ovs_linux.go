package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ObserveOVS returns what Open vSwitch has. Where none runs it starts no
// process, and that is no error. OVS_RUNDIR says where to look, as it does for
// ovs-vsctl.
func ObserveOVS(ctx context.Context) (OVS, error) {
	const op = "read Open vSwitch"
	text, err := vsctl(ctx, ovsReadArgs()...)
	if missing := (*missingOVSError)(nil); errors.As(err, &missing) {
		return OVS{Missing: missing.why}, nil
	}
	if err != nil {
		return OVS{}, ovsFault(op, "", err)
	}
	o, err := parseOVS(strings.NewReader(text))
	if err != nil {
		return OVS{}, ovsFault(op, "", fmt.Errorf("cannot read what ovs-vsctl printed: %w", err))
	}
	o.Running = true
	if o.Kernel, err = HasKernelDatapath(); err != nil {
		return OVS{}, ovsFault(op, "", err)
	}
	return o, nil
}

// HasKernelDatapath reports whether this kernel has the datapath of Open
// vSwitch. The kernel loads the module on this question, if there is one, as
// it does when ovs-vswitchd asks.
func HasKernelDatapath() (bool, error) {
	_, err := netlink.GenlFamilyGet("ovs_datapath")
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the kernel's datapath: %w", err)
	}
	return true, nil
}

// Add makes the bridge with its Datapath, and waits until ovs-vswitchd has
// made it. A name that is taken is a conflict. On an error there is no bridge,
// unless it is [ErrLeft].
func (b OVSBridge) Add(ctx context.Context) error {
	const op = "add Open vSwitch bridge"
	if err := checkOVSName(op, b.Name, b.Name); err != nil {
		return err
	}
	_, err := vsctl(ctx, b.addArgs()...)
	if nothingDone(err) {
		return refusal(ctx, op, b.Name, err)
	}
	waited := err == nil
	if err = ovsFault(op, b.Name, err); waited {
		err = b.checkMade(ctx, op)
	}
	if err == nil {
		return nil
	}
	if again := b.remove(context.WithoutCancel(ctx), waited); again != nil {
		return fmt.Errorf("%w; %w: %w", err, ErrLeft, again)
	}
	return err
}

// SetOrigin notes who asks for the bridge; "": nobody. After a timeout nobody knows whether
// it has.
func (b OVSBridge) SetOrigin(ctx context.Context, origin string) error {
	const op = "mark Open vSwitch bridge"
	if err := checkOVSName(op, b.Name, b.Name); err != nil {
		return err
	}
	_, err := vsctl(ctx, b.setOriginArgs(origin)...)
	return ovsFault(op, b.Name, err)
}

// checkMade looks whether ovs-vswitchd could make the bridge. ovs-vsctl exits
// with 0 whether or not.
func (b OVSBridge) checkMade(ctx context.Context, op string) error {
	o, err := ObserveOVS(ctx)
	if err != nil {
		return err
	}
	now, _ := o.Bridge(b.Name)
	switch {
	case now.Made:
		return nil
	case now.Error != "":
		return fault.New(fault.Failed, op, b.Name, "%s", now.Error)
	case b.inKernel() && !o.Kernel:
		return fault.New(fault.Unsupported, op, b.Name,
			"this kernel has no Open vSwitch datapath (module %s, option OPENVSWITCH)", kernelModule).
			WithHint("ovs-vswitchd can do without it: %s", OVSBridge{Name: b.Name, Datapath: UserspaceDatapath}.AddCommand())
	}
	return fault.New(fault.Failed, op, b.Name, "ovs-vswitchd could not create it; its log says why")
}

// Delete deletes the bridge, if it is ours and has no port but its own.
// That it is not there is no error.
func (b OVSBridge) Delete(ctx context.Context) error { return b.remove(ctx, true) }

func (b OVSBridge) remove(ctx context.Context, wait bool) error {
	const op = "delete Open vSwitch bridge"
	o, err := ObserveOVS(ctx)
	if err != nil {
		return err
	}
	now, found := o.Bridge(b.Name)
	switch {
	case !o.Running:
		return o.Require(op, b.Name)
	case !found:
		return nil
	case !now.Ours:
		return fault.New(fault.Conflict, op, b.Name, "it is not ours")
	case len(now.Ports) > 0:
		return fault.New(fault.Conflict, op, b.Name, "it has the port %s", now.Ports[0].Name)
	}
	return ovsDelete(ctx, op, b.Name, b.deleteArgs(), wait)
}

// Add makes the link a port of the bridge, with its VLAN, Mark and IDs, in one
// transaction, and waits until ovs-vswitchd has taken it. A link that is a
// port already is a conflict. On an error there is no port, unless it is
// [ErrLeft].
func (p OVSPort) Add(ctx context.Context) error {
	const op = "add Open vSwitch port"
	if p.Mark == "" {
		return fault.New(fault.Failed, op, p.Name, "a port without a mark could not be told from a foreign one")
	}
	if err := checkOVSName(op, p.Name, p.Bridge, p.Name); err != nil {
		return err
	}
	_, err := vsctl(ctx, p.addArgs()...)
	if nothingDone(err) {
		return refusal(ctx, op, p.Name, err)
	}
	waited := err == nil
	if err = ovsFault(op, p.Name, err); waited {
		err = p.checkTaken(ctx, op)
	}
	if err == nil {
		return nil
	}
	if again := p.remove(context.WithoutCancel(ctx), waited); again != nil {
		return fmt.Errorf("%w; %w: %w", err, ErrLeft, again)
	}
	return err
}

// Protect lets nothing pass between the port and other protected ones, or ends that.
func (p OVSPort) Protect(ctx context.Context, on bool) error {
	return p.set(ctx, "protect Open vSwitch port", p.protectArgs(on))
}

// SetVLAN puts a port that is there into the VLAN, in one transaction, and
// waits until ovs-vswitchd has done so. After a timeout nobody knows whether it
// has.
func (p OVSPort) SetVLAN(ctx context.Context, v VLAN) error {
	return p.set(ctx, "change the VLAN of Open vSwitch port", p.setVLANArgs(v))
}

// SetMark gives a port of ours another mark. After a timeout nobody knows whether it
// has it.
func (p OVSPort) SetMark(ctx context.Context, mark string) error {
	return p.set(ctx, "mark Open vSwitch port", p.setMarkArgs(mark))
}

// SetIDs gives a port of ours another Mark and other IDs, in one transaction. After a
// timeout nobody knows whether it has them.
func (p OVSPort) SetIDs(ctx context.Context) error {
	return p.set(ctx, "mark Open vSwitch port", p.setIDsArgs())
}

func (p OVSPort) set(ctx context.Context, op string, args []string) error {
	if err := checkOVSName(op, p.Name, p.Name); err != nil {
		return err
	}
	_, err := vsctl(ctx, args...)
	return ovsFault(op, p.Name, err)
}

// checkTaken looks whether ovs-vswitchd has taken the link. ovs-vsctl exits
// with 0 whether or not.
func (p OVSPort) checkTaken(ctx context.Context, op string) error {
	o, err := ObserveOVS(ctx)
	if err != nil {
		return err
	}
	now, _ := o.Port(p.Name)
	switch {
	case now.Error != "":
		return fault.New(fault.Failed, op, p.Name, "%s", now.Error)
	case now.Number < 1:
		return fault.New(fault.Failed, op, p.Name, "ovs-vswitchd did not accept it; its log says why")
	}
	return nil
}

// Delete takes the port off its bridge if it is ours, and, where p has a Mark,
// if that is its mark; otherwise it is a conflict. The link stays. That the
// port is not there is no error.
func (p OVSPort) Delete(ctx context.Context) error { return p.remove(ctx, true) }

func (p OVSPort) remove(ctx context.Context, wait bool) error {
	const op = "delete Open vSwitch port"
	o, err := ObserveOVS(ctx)
	if err != nil {
		return err
	}
	now, found := o.Port(p.Name)
	switch {
	case !o.Running:
		return o.Require(op, p.Name)
	case !found || now.Bridge != p.Bridge:
		return nil
	case now.Mark == "":
		return fault.New(fault.Conflict, op, p.Name, "it is not ours")
	case p.Mark != "" && now.Mark != ovsText(p.Mark):
		return fault.New(fault.Conflict, op, p.Name, "it is marked as %q", now.Mark)
	}
	return ovsDelete(ctx, op, p.Name, p.deleteArgs(), wait)
}

// Add makes the mirror, in one transaction, and waits until ovs-vswitchd has done so. After
// a timeout nobody knows whether it has.
func (m OVSMirror) Add(ctx context.Context) error {
	const op = "mirror Open vSwitch port"
	if err := checkOVSName(op, m.From, m.Bridge, m.From, m.To); err != nil {
		return err
	}
	_, err := vsctl(ctx, m.addArgs()...)
	return ovsFault(op, m.From, err)
}

// Delete deletes the mirror, if it is ours. That it is not there is no error.
func (m OVSMirror) Delete(ctx context.Context) error {
	const op = "delete Open vSwitch mirror"
	o, err := ObserveOVS(ctx)
	if err != nil {
		return err
	}
	is := func(o OVSMirror) bool { return o.Bridge == m.Bridge && o.Name == m.Name }
	switch {
	case !o.Running:
		return o.Require(op, m.Name)
	case !slices.ContainsFunc(o.Mirrors(), is):
		return nil
	}
	return ovsDelete(ctx, op, m.Name, m.deleteArgs(), true)
}

// ovsDelete waits until ovs-vswitchd has let go. Where that does not answer,
// it is enough that the database has forgotten: ovs-vswitchd will obey it when
// it is back.
func ovsDelete(ctx context.Context, op, object string, args []string, wait bool) error {
	var err error
	if wait {
		if _, err = vsctl(ctx, args...); err == nil {
			return nil
		}
	}
	if !wait || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		_, err = vsctl(ctx, append([]string{"--no-wait", "--if-exists"}, args...)...)
	}
	return ovsFault(op, object, err)
}

// checkOVSName refuses what ovs-vsctl might read as something else.
func checkOVSName(op, object string, names ...string) error {
	for _, name := range names {
		if !plainname.Is(name) {
			return fault.New(fault.Unsupported, op, object, "ovs-vsctl cannot name interface %q", name)
		}
	}
	return nil
}

// nothingDone reports whether a run of ovs-vsctl ended before it changed the
// database. After one that was ended by a timeout nobody knows.
func nothingDone(err error) bool {
	return err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// refusal says why ovs-vsctl added nothing: most often the name is taken.
func refusal(ctx context.Context, op, name string, err error) error {
	if o, lookErr := ObserveOVS(ctx); lookErr == nil {
		if _, taken := o.Bridge(name); taken {
			return fault.New(fault.Conflict, op, name, "there is an Open vSwitch bridge of that name already")
		}
		if p, taken := o.Port(name); taken {
			return fault.New(fault.Conflict, op, name, "it is a port of the Open vSwitch bridge %s already", p.Bridge)
		}
	}
	return ovsFault(op, name, err)
}

// ovsFault says what kind of error a run of ovs-vsctl ended in; nil for nil.
func ovsFault(op, object string, err error) error {
	if err == nil {
		return nil
	}
	if missing := (*missingOVSError)(nil); errors.As(err, &missing) {
		return noOVS(op, object, missing.why)
	}
	out := &fault.Error{Code: fault.CodeOfCause(err), Op: op, Object: object, Err: err}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		out.Code = fault.Timeout
		out.Err = fmt.Errorf("ovsdb-server or ovs-vswitchd did not answer: %w", err)
	}
	return out
}
