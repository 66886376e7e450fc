package dockerutil

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestStored: what a container asks for is read from Docker's own files, and Docker is asked only
// for what they do not say.
func TestStored(t *testing.T) {
	const rootfs = "/overlay2/layer/merged"
	digest := func(c string) string { return strings.Repeat(c, 64) }
	e := startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/images/") {
			composeImage(w, r)
			return
		}
		answer(w, http.StatusOK, []any{serviceOf(webID, "asked", "web", "1", "running")})
	})
	root := t.TempDir()
	for c, labels := range map[string]string{"a": `{"com.docker.compose.service":"web"}`, "b": `{"com.docker.compose.container-number":"9"}`} {
		writeFile(t, root+"/image/overlay2/imagedb/content/sha256/"+digest(c), `{"config":{"Labels":`+labels+`}}`)
	}
	const compose = `,"com.docker.compose.project":"shop","com.docker.compose.service":"web","com.docker.compose.container-number":"1"`
	kept := func(id, name, image, more string) string {
		return fmt.Sprintf(`{"State":{},"ID":%q,"Name":%q,"Driver":"overlay2","Image":"sha256:%s","Created":"2026-01-02T03:04:05.6Z","Config":{"Labels":{"x":"y"%s}}}`, id, name, digest(image), more)
	}
	whole := Labelled{Runtime: RuntimeDocker, ID: webID, Name: "web", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Local()}
	of := func(w Labelled, project, label string) Labelled {
		if w.Project = project; project != "" {
			w.Service = "web"
		}
		if label != "" {
			w.Labels = map[string]string{"gopipework.eth1": label}
		}
		return w
	}
	for text, want := range map[string]Labelled{
		kept(webID, "/web", "a", ""):                                     whole,
		kept(webID, "/web", "a", `,"gopipework.eth1":"br1 0/0"`):         of(whole, "", "br1 0/0"),
		kept(webID, "/web", "a", `,"gopipework.eth1":"br1 0/0"`+compose): of(whole, "shop", "br1 0/0"),
		kept(webID, "/web", "b", compose):                                whole, // forged
		kept(webID, "/web", "c", compose):                                {Project: "asked"},
		kept(otherID, "/web", "a", ""):                                   {Project: "asked"},
		kept(webID, "/../web", "a", ""):                                  {Project: "asked"},
		strings.TrimSuffix(kept(webID, "/web", "a", ""), "}"):            {Project: "asked"},
	} {
		writeFile(t, root+"/containers/"+webID+"/config.v2.json", text)
		before := len(e.requests())
		got, err := NewLabels("gopipework.").Of(t.Context(), webID, root+rootfs, true)
		if asks := len(e.requests()) > before; asks != (want.Project == "asked") {
			t.Errorf("%s: Docker is asked: %v", text, asks)
		}
		if want.Project == "asked" {
			got = Labelled{Project: got.Project}
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, rootfs := range []string{"", "merged", root + "/merged"} {
		if got, err := NewLabels("gopipework.").Of(t.Context(), webID, rootfs, true); err != nil || got.Project != "asked" {
			t.Errorf("%q: %+v, %v", rootfs, got, err)
		}
	}
}
