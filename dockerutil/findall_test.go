package dockerutil

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// TestFindAll: Docker is asked once for all containers, and then only about those that a
// word can mean.
func TestFindAll(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	e := startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			answer(w, http.StatusOK, []map[string]any{{"Id": webID, "Names": []string{"/web"}}, {"Id": otherID, "Names": []string{"/db"}}})
			return
		}
		object{PID: child}.ServeHTTP(w, r)
	})
	all := f.findAll(context.Background(), []string{"web", webID[:6], "docker:nope", "gone", "netns:gone", "no/name"})
	for word, code := range map[string]fault.Code{"docker:nope": fault.NotFound, "gone": fault.NotFound, "netns:gone": fault.NotFound, "no/name": fault.Usage} {
		wantFault(t, all[word].Err, code)
	}
	for _, word := range []string{"web", webID[:6]} {
		one := all[word]
		if one.Err != nil {
			t.Fatal(word, one.Err)
		}
		if one.Guest.ID != webID || one.Guest.PID != child {
			t.Errorf("%s: got %+v", word, one.Guest.GuestInfo)
		}
		one.Guest.Close()
	}
	asked := e.requests()
	slices.Sort(asked)
	want := []string{"GET /v1.40/containers/" + webID[:6] + "/json", "GET /v1.40/containers/json", "GET /v1.40/containers/web/json"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// TestFindAllUncounted: without a list that can be relied on, each container is asked for.
func TestFindAllUncounted(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			message(http.StatusInternalServerError, "no list today")(w, r)
			return
		}
		object{PID: child}.ServeHTTP(w, r)
	})
	one := f.findAll(context.Background(), []string{"web"})["web"]
	if one.Err != nil {
		t.Fatal(one.Err)
	}
	one.Guest.Close()
}

// TestFindAllHangs: a Docker that does not answer is waited for once, not for each word.
func TestFindAllHangs(t *testing.T) {
	f := testFinder(t)
	f.bound = time.Second // time to be asked at all on a busy machine
	e := startEngine(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	words := []string{"a", "b", "c", "d"}
	for word, one := range f.findAll(context.Background(), words) {
		if one.Err == nil {
			t.Fatal(word, "was found")
		}
		wantFault(t, one.Err, fault.Timeout)
	}
	if asked := e.requests(); len(asked) != 1 {
		t.Errorf("asked %q, want one question", asked)
	}
}

// TestFindUnasked: an error tells whether Docker has no such container or could not be asked.
func TestFindUnasked(t *testing.T) {
	f := testFinder(t)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	var u guests.Unasked
	if err := f.findAll(context.Background(), []string{"web"})["web"].Err; fault.CodeOf(err) != fault.NotFound || !errors.As(err, &u) || u.Runtime != RuntimeDocker {
		t.Errorf("without Docker: %v", err)
	}
	startEngine(t, func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, []map[string]any{}) })
	if err := f.findAll(context.Background(), []string{"web"})["web"].Err; fault.CodeOf(err) != fault.NotFound || errors.As(err, &u) {
		t.Errorf("with a Docker that has none: %v", err)
	}
}
