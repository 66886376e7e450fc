package dockerutil

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// serviceOf is a container of a service in the answer to a list.
func serviceOf(id, project, service, number, state string, more ...string) map[string]any {
	labels := map[string]string{labelProject: project, labelService: service, labelNumber: number, labelOneOff: "False"}
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	image := "own"
	if slices.Contains(more, "forged") {
		image = "forger"
	}
	return map[string]any{"ImageID": image, "Id": id, "Names": []string{"/" + project + "-" + service + "-" + number}, "State": state, "Labels": labels}
}

// composeImage tells what an image carries. Compose labels the images that it builds too.
func composeImage(w http.ResponseWriter, r *http.Request) {
	labels := map[string]string{labelProject: "shop", labelService: "web"}
	if strings.Contains(r.URL.Path, "/forger/") {
		labels[labelNumber] = "9"
	}
	answer(w, http.StatusOK, map[string]any{"Id": "sha256:0", "Config": map[string]any{"Labels": labels}})
}

// composed is an engine with the containers of two projects; all are the process child.
func composed(t *testing.T, child int) *engine {
	other := func(c string) string { return strings.Repeat(c, 64) }
	all := []map[string]any{
		serviceOf(webID, "shop", "web", "1", "running"),
		serviceOf(other("a"), "shop", "web", "1", "exited"), // it is being made anew
		serviceOf(other("b"), "shop", "web", "7", "running", labelOneOff, "True"),
		serviceOf(other("c"), "shop", "web", "8", "running", labelHook, "pre_start"),
		serviceOf(webID, "shop", "db", "1", "running"),
		serviceOf(other("d"), "shop", "db", "2", "running"),
		serviceOf(other("e"), "other", "web", "3", "running"),
		serviceOf(other("f"), "shop", "web", "9", "running", "forged", "yes"),
		serviceOf(other("9"), "shop", "forged", "1", "running", "forged", "yes"),
		{"Id": otherID, "Names": []string{"/web"}, "State": "running"},
	}
	return startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/images/") {
			composeImage(w, r)
			return
		}
		if !strings.HasSuffix(r.URL.Path, "/containers/json") {
			object{PID: child, Name: "/shop-web-1"}.ServeHTTP(w, r)
			return
		}
		some := slices.Clone(all)
		if filters := r.URL.Query().Get("filters"); filters != "" { // as Docker does it: all labels have to match
			some = slices.DeleteFunc(some, func(c map[string]any) bool {
				labels, _ := c["Labels"].(map[string]string)
				for _, l := range []string{labelProject, labelService} {
					if !strings.Contains(filters, `"`+l+"="+labels[l]+`":true`) {
						return true
					}
				}
				return false
			})
		}
		answer(w, http.StatusOK, some)
	})
}

// TestFindService: a word names the container of a service, which is found by its labels,
// alone and among others.
func TestFindService(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	e := composed(t, child)
	const web, first = "compose:shop/web", "compose:shop/db/1"
	wrong := map[string]fault.Code{
		"compose:shop/db": fault.Conflict, "compose:shop/web/2": fault.NotFound, "compose:shop/web/7": fault.NotFound,
		"compose:shop/cache": fault.NotFound, "compose:shop/web/9": fault.NotFound, "compose:shop/forged": fault.NotFound, "compose:none/web": fault.NotFound, "shop/web": fault.Usage,
	}
	check := func(how, word string, one Found) {
		t.Helper()
		if code, is := wrong[word]; is {
			if one.Err == nil {
				t.Fatalf("%s: %s was found: %+v", how, word, one.Guest.GuestInfo)
			}
			wantFault(t, one.Err, code)
			return
		}
		if one.Err != nil {
			t.Fatal(how, word, one.Err)
		}
		if g := one.Guest; g.ID != webID || g.Name != "shop-web-1" || g.Runtime != RuntimeDocker {
			t.Errorf("%s: %s: got %+v", how, word, g.GuestInfo)
		}
		one.Guest.Close()
	}
	words := []string{web, first}
	for word := range wrong {
		words = append(words, word)
	}
	for _, word := range words {
		r, err := parseWord(word)
		one := Found{Err: err}
		if err == nil {
			one.Guest, one.Err = f.find(context.Background(), r)
		}
		check("alone", word, one)
	}
	before := len(e.requests())
	for word, one := range f.findAll(context.Background(), words) {
		check("among all", word, one)
	}
	if asked := e.requests()[before:]; len(asked) != 5 { // one list, each of the two that are there, and the two images
		t.Errorf("to find all, asked %q", asked)
	}
	_, err := f.find(context.Background(), wordRef{Runtime: RuntimeCompose, Namespace: "shop", Name: "db"})
	if hint := fault.HintOf(err); hint != "write compose:shop/db/1 or compose:shop/db/2" {
		t.Errorf("hint %q", hint)
	}
}

// TestServiceStops: the hint for a service that does not run is a command of Compose.
func TestServiceStops(t *testing.T) {
	f := testFinder(t)
	startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			answer(w, http.StatusOK, []map[string]any{serviceOf(webID, "shop", "web", "1", "exited")})
			return
		}
		if strings.Contains(r.URL.Path, "/images/") {
			composeImage(w, r)
			return
		}
		object{Name: "/shop-web-1", Status: "exited"}.ServeHTTP(w, r)
	})
	_, err := f.find(context.Background(), wordRef{Runtime: RuntimeCompose, Namespace: "shop", Name: "web"})
	wantFault(t, err, fault.Gone)
	if hint := fault.HintOf(err); hint != "docker compose -p shop start web" {
		t.Errorf("hint %q", hint)
	}
}

// TestPick: of the containers that have the number that is asked for, that which runs, else
// the newest.
func TestPick(t *testing.T) {
	one := func(id string, number int, running bool, created int64) replica {
		return replica{id, "image", wordRef{Runtime: RuntimeCompose, Namespace: "p", Name: "s", Number: number}, running, created}
	}
	for _, tt := range []struct {
		number int
		all    []replica
		want   string
		code   fault.Code
	}{
		{0, []replica{one("a", 1, false, 1), one("b", 1, false, 2)}, "b", ""},
		{0, []replica{one("a", 1, true, 1), one("b", 1, false, 2)}, "a", ""},
		{2, []replica{one("a", 1, true, 1), one("b", 2, false, 2)}, "b", ""},
		{0, []replica{one("a", 1, true, 1), one("b", 2, false, 2)}, "", fault.Conflict},
		{3, []replica{one("a", 1, true, 1)}, "", fault.NotFound},
		{0, nil, "", fault.NotFound},
	} {
		got, err := wordRef{Runtime: RuntimeCompose, Namespace: "p", Name: "s", Number: tt.number}.pick(tt.all)
		if got != tt.want || err != nil && fault.CodeOf(err) != tt.code || (err == nil) != (tt.code == "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

// TestServiceEvents: an event is about a service if its labels say so.
func TestServiceEvents(t *testing.T) {
	labels := map[string]string{labelProject: "shop", labelService: "web", labelNumber: "2", "name": "shop-web-2"}
	for word, want := range map[string]bool{
		"compose:shop/web": true, "compose:shop/web/2": true, "compose:shop/web/1": false, "compose:shop/db": false,
		"compose:other/web": false, "shop-web-2": true, "web": false,
	} {
		r, err := parseWord(word)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.maybe(Event{ID: webID, Name: "shop-web-2", Labels: labels}); got != want {
			t.Errorf("%s: %v, want %v", word, got, want)
		}
	}
}

// TestFindServiceOfPodman: without Docker, podman is asked on its socket.
func TestFindServiceOfPodman(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/libpod-"+webID+".scope\n")
	composed(t, child)
	f.podmanOwn = strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/none")
	g, err := f.find(context.Background(), wordRef{Runtime: RuntimeCompose, Namespace: "shop", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Runtime != RuntimePodman || g.ID != webID {
		t.Errorf("got %+v", g.GuestInfo)
	}
	_, err = f.find(context.Background(), wordRef{Runtime: RuntimeCompose, Namespace: "shop", Name: "cache"})
	if err == nil {
		t.Fatal("what podman does not have was found")
	}
	wantFault(t, err, fault.NotFound)
}
