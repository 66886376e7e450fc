package graphpage

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// What the page consists of. What others wrote is one compressed file (make page). Nothing
// of it is read before it is served.
//
//go:embed page/page.html page/page.css page/*.js page/vendor.js.gz page/licences.txt
var files embed.FS

var fileNames = [...]string{"page.html", "page.css", "page.js", "layout.js", "look.js", "details.js", "vendor.js", "licences.txt"}

// mediaType returns that of a file.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html"
	case ".css":
		return "text/css"
	case ".js":
		return "text/javascript"
	}
	return "text/plain"
}

// compressed returns a file, compressed.
func compressed(name string) ([]byte, error) {
	if b, err := files.ReadFile("page/" + name + ".gz"); err == nil {
		return b, nil
	}
	text, err := files.ReadFile("page/" + name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(text)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// serveFile answers with a file, compressed if the browser takes that.
func serveFile(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := compressed(name)
		h := w.Header()
		h.Set("Content-Type", mediaType(name)+"; charset=utf-8")
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else if err == nil {
			body, err = plain(body)
		}
		if err != nil {
			h.Del("Content-Encoding")
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		// Not http.ServeContent, whose table of media types is made at the start of every run.
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}
}

func plain(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
