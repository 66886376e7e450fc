package dockerutil

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRunning: one question to Docker names all its containers, by the cgroups of their
// processes. A container whose process shows no cgroup is asked for by itself; one that is
// in the host's namespace, or of which there is no process, is left out.
func TestRunning(t *testing.T) {
	web, db := startGuest(t).Process.Pid, startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, web, "0::/docker/"+webID+"\n")
	writeFile(t, fmt.Sprintf("%s/%d/cgroup", f.proc, db), "0::/\n")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", db))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, fmt.Sprintf("%s/%d/stat", f.proc, db), string(stat))
	started := time.Now().UTC().Format(time.RFC3339Nano)
	plainID := strings.Repeat("00112233", 8)
	e := startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			answer(w, http.StatusOK, []map[string]any{
				{"Id": webID, "Names": []string{"/db/web", "/web"}}, {"Id": otherID, "Names": []string{"/no cgroup"}}, {"Id": plainID, "Names": []string{"/ended"}}, {"Id": "short"},
			})
		case strings.Contains(r.URL.Path, plainID):
			message(http.StatusNotFound, "No such container")(w, r)
		default:
			object{ID: otherID, Name: "/no cgroup", PID: db, Started: started}.ServeHTTP(w, r)
		}
	})
	all, warnings := f.all(context.Background())
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
	var got []string
	for _, g := range all {
		got = append(got, g.Word())
		if g.NetNS == 0 || g.PID != web && g.PID != db {
			t.Errorf("%+v", g)
		}
	}
	if want := []string{"docker:web", "docker:" + otherID[:12]}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if slices.ContainsFunc(e.requests(), func(r string) bool { return strings.Contains(r, webID) }) {
		t.Errorf("asked %q: the cgroup says whose web's process is", e.requests())
	}
}

// TestRunningWarns: an engine that answers nonsense is a warning, and one that is not there is not.
func TestRunningWarns(t *testing.T) {
	f := testFinder(t)
	startEngine(t, message(http.StatusInternalServerError, "out of order"))
	all, warnings := f.all(context.Background())
	if len(all) != 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "guests of Docker are not named") {
		t.Errorf("%v, warnings %q", all, warnings)
	}
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "nobody"))
	if all, warnings := f.all(context.Background()); len(all)+len(warnings) != 0 {
		t.Errorf("%v, warnings %q", all, warnings)
	}
}

func TestIDsInCgroup(t *testing.T) {
	for text, want := range map[string][]string{
		"0::/system.slice/docker-" + webID + ".scope\n":                         {webID},
		"12:pids:/docker/" + webID + "\n1:name=systemd:/docker/" + webID:        {webID},
		"0::/docker/" + webID + "/docker/" + otherID + "\n":                     {otherID},
		"0::/kubepods/burstable/pod1/cri-containerd-" + webID + ".scope/init\n": {webID},
		"0::/user.slice/" + webID[:63] + "\n0::/" + webID + "0\n":               nil,
	} {
		if got := idsIn(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
