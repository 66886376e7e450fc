package attach

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostbridge"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// oneOfEach has a step of each type; where the zero one would print nothing, one that
// does something.
var oneOfEach = []plan.Step{
	hostaccess.AddAccess{}, plan.AddAddr{}, kind.AddBridge{}, kind.AddChild{}, guestnet.AddIPRule{}, guestnet.AddInbound{}, kind.AddOVSBridge{}, kind.AddOVSPort{},
	addPair{}, plan.AddRoute{}, kind.AddRule{}, kind.AddTagged{}, kind.AddVeth{}, guestnet.Announce{}, guestnet.AnnounceARP{}, guestnet.AwaitCarrier{}, plan.AwaitDAD{},
	kind.AwaitForwarding{}, kind.AwaitUp{}, kind.AwaitOVS{}, source.AwaitSLAAC{}, kind.ReturnCard{}, kind.ChangeLentMark{}, plan.ChangeMark{}, plan.ChangeMTU{}, kind.ChangeOVSMark{}, kind.ChangeOVSVLAN{},
	kind.ChangePortVLANs{Want: []rtnl.PortVLAN{{First: 9, Last: 9}}}, kind.Checksums{}, plan.DelAddr{}, plan.DelRoute{}, plan.ReplaceRoute{}, guestnet.ChangeDNS{}, guestnet.DelIPRule{}, source.ChangeLease{}, delHalf{}, hostaccess.DelHostRoute{}, hostaccess.DelAccess{}, guestnet.DelInbound{},
	ours.AddMark{}, ours.DelInner{}, ours.DelLink{}, ours.DelMark{}, ours.SetDown{}, ours.SetUp{}, kind.DelOVSBridge{}, kind.DelOVSPort{}, guestnet.DelReplies{Obsolete: guestnet.Obsolete{Rules: []rtnl.Rule{{}}}}, guestnet.DelRepliesIn{Obsolete: guestnet.Obsolete{Rules: []rtnl.Rule{{}}}}, kind.DelRule{}, guestnet.DropNote{}, guestnet.DropTorn{}, source.EndClient{},
	kind.FilterVLANs{}, kind.ForgetLoan{}, source.GetLease{}, source.GetLease6{}, guestnet.IgnoreRouters{}, kind.Lend{}, plan.SetMark{}, kind.MarkLent{}, kind.PlugIn{}, kind.Isolate{}, kind.FilterSource{Was: &firewall.SourceFilter{}}, kind.DropFilter{}, kind.AddMirror{Ways: []spec.Way{spec.In}}, kind.DelMirror{}, kind.AddOVSMirror{}, kind.DelOVSMirror{}, kind.ProtectOVSPort{}, guestnet.Probe{}, guestnet.AddVRF{}, guestnet.JoinVRF{}, guestnet.DelVRF{}, ours.RaiseLink{},
	source.ReleaseLease{}, guestnet.RestoreDNS{}, source.RunClient{}, plan.SetLink{}, kind.SetUpTunnel{}, kind.SetPortVLAN{VLAN: bridge.VLAN{PVID: 9}}, plan.SetSysctl{},
	hostbridge.AddAddr{}, hostbridge.AwaitAddrs{}, hostbridge.AwaitUplink{}, hostbridge.DelAddr{}, hostbridge.SetOVSOrigin{},
	hostbridge.Trunk{VLANs: []rtnl.PortVLAN{{First: 2, Last: 4094}}}, hostbridge.Unplug{},
	guestnet.ShapeLink{Want: guestnet.Egress{Rate: 1}}, kind.UnfilterVLANs{}, kind.Verify{}, guestnet.WriteDNS{},
	kind.ParkEnd{Parking: build.Parking{Port: &rtnl.Link{}, Inner: &rtnl.Link{}}}, kind.TakeEnd{}, kind.TakeOVSPort{}, kind.Unplug{}, kind.DelBridge{}, kind.AddVXLAN{}, kind.AnnounceAfar{}, kind.AwaitRouting{}, kind.DelVXLAN{}, kind.FloodTo{}, kind.NotFloodTo{}, kind.Pin{}, kind.Unpin{Static: true}, source.Rebind{},
}

// stepTypes returns the names of the types that have a nature.
func stepTypes(t *testing.T) (names []string) {
	t.Helper()
	var files []string
	for _, dir := range []string{".", "../internal/*"} {
		in, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, in...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "Nature" {
				names = append(names, file.Name.Name+"."+f.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	return names
}

// What is not undone, or not done, is named, whatever step it is; and not by the
// comment that says what the step would have done.
func TestResidueHasWords(t *testing.T) {
	missing := stepTypes(t)
	if len(missing) == 0 {
		t.Fatal("no type has a nature")
	}
	for _, s := range oneOfEach {
		name := reflect.TypeOf(s).String()
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		left := plan.Remains([]plan.Step{s})
		if len(left) == 0 {
			t.Errorf("nothing remains of %T", s)
		}
		for _, words := range left {
			if strings.TrimSpace(words) == "" || strings.HasPrefix(words, "#") {
				t.Errorf("of %T remains %q", s, left)
			}
		}
		_, hasWords := s.(plan.Worded)
		if !hasCommand(s) && s.Nature() != plan.Passive && !hasWords {
			t.Errorf("%T prints a comment alone and changes something: give it the method Left", s)
		}
	}
	if len(missing) > 0 {
		t.Errorf("oneOfEach lacks %q", missing)
	}
}

// hasCommand reports whether a step prints a line that is not a comment.
func hasCommand(s plan.Step) bool {
	return slices.ContainsFunc(strings.Split(s.String(), "\n"), func(line string) bool {
		return line != "" && !strings.HasPrefix(line, "#")
	})
}

// TestUnusedUplinkUndone: what gc deletes because it serves nobody is not missed when a later
// step fails.
func TestUnusedUplinkUndone(t *testing.T) {
	unused := &rtnl.Link{Name: "vx100", Kind: "vxlan", Group: plan.Group, Alias: build.VXLANMark, VXLAN: rtnl.VXLAN{VNI: 100}}
	if err := kind.EndUplink("", build.Uplink{Link: unused}).Undo(t.Context(), &plan.Machine{}); err != nil {
		t.Error(err)
	}
}
