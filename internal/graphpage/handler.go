package graphpage

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// policy lets the page use what this server sends, and nothing else. Its icon is in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler returns what answers requests.
func (p Page) handler(s *stream) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveFile("page.html"))
	for _, name := range fileNames {
		mux.HandleFunc("GET /"+name, serveFile(name))
	}
	mux.HandleFunc("GET /events", s.serve)
	return guard(mux)
}

// guard refuses what no reader of the page sends: another method, the name of another
// site, and what another site's page asks for.
//
// A site can have its name lead to this host once its page is loaded, and that page could
// then read everything (DNS rebinding). That takes a name, so only addresses, localhost and
// the name of this host are answered.
func guard(next http.Handler) http.Handler {
	self, _ := os.Hostname()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		switch {
		case !hostAllowed(r.Host, self):
			http.Error(w, "This page is only served under an address of this host.", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet:
			h.Set("Allow", http.MethodGet)
			http.Error(w, "This page can only be read.", http.StatusMethodNotAllowed)
		case foreignSite(r.Header):
			http.Error(w, "This page is for no other site.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// hostAllowed reports whether a Host header names this host, with any port: there may be
// a tunnel.
func hostAllowed(header, self string) bool {
	name := header
	if host, _, err := net.SplitHostPort(header); err == nil {
		name = host
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") || self != "" && strings.EqualFold(name, self)
}

// foreignSite reports whether another site's page asks. It may lead to this one.
func foreignSite(h http.Header) bool {
	switch h.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return h.Get("Sec-Fetch-Mode") != "navigate"
}
