# gopipework: what can be done with a checkout. "make help" lists it.

PREFIX   ?= /usr/local
FUZZTIME ?= 30s
DAY      ?= 600
DEST     ?= gopipework
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# What tests must not be skipped for.
ENGINES := root,docker,ipv6,podman,lxc,containerd,machine,systemd,ovs,clients,strace,shells,tcpdump,cni,frr

GO         ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.DEFAULT_GOAL := build
.PHONY: help build test kernels live e2e engines soak torture fuzz bench lint map page docs demo man install packages release clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## build ./gopipework, one static binary
	CGO_ENABLED=0 $(GO) build -tags urfave_cli_no_docs -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(DEST) ./cmd/gopipework

# As root everything has to be there, and is installed if it is not: a test
# that would be skipped fails. What this kernel lacks is run beside that on one that
# has it, and at the end a table tells what was proven of each kind of link, and on which
# kernel; an empty cell fails, and so does a test that ran on neither kernel and is
# not in e2e/leftout.txt.
# Without root what needs no root is run.
#
# The packages run under the race detector; the built program, the tests of memory, which
# it would spoil, and the drawing of graphs, which starts no goroutine, without. The tests of
# the program wait for engines, leases and routing daemons four fifths of their time, so
# four of them run at once, whatever the processors are.
test: ## run every test; as root, install the missing Debian packages first
	@test -z "$$(gofmt -l .)" || { echo "gofmt is needed on:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	cd e2e/importer && $(GO) vet ./...
	@export GOPIPEWORK_TABLE=$$(mktemp) GOPIPEWORK_LEFT_OUT=$$(mktemp); \
	trap 'rm -f "$$GOPIPEWORK_TABLE" "$$GOPIPEWORK_LEFT_OUT"' EXIT; \
	status=0; \
	if [ "$$(id -u)" = 0 ]; then \
		set -x; \
		./e2e/install.sh engines kernels race || exit 1; \
		./e2e/kernels.sh >"$$GOPIPEWORK_TABLE.kernels" 2>&1 & kernels=$$!; \
		trap 'kill $$kernels 2>/dev/null; rm -f "$$GOPIPEWORK_TABLE" "$$GOPIPEWORK_TABLE.kernels" "$$GOPIPEWORK_LEFT_OUT"' EXIT; \
		export GOPIPEWORK_REQUIRE=$(ENGINES) GORACE=atexit_sleep_ms=0; \
		CGO_ENABLED=1 $(GO) test -race -timeout 30m -skip 'Memory$$' $$($(GO) list ./... | grep -v -e /e2e -e '/internal/graph$$') || status=1; \
		$(GO) test -run 'Memory$$' ./internal/lease || status=1; \
		$(GO) test ./internal/graph || status=1; \
		$(GO) test -timeout 30m -parallel 4 ./e2e/... || status=1; \
		wait $$kernels || status=1; \
		kernels=; \
		cat "$$GOPIPEWORK_TABLE.kernels"; \
		$(GO) run ./e2e/table/show "$$GOPIPEWORK_TABLE" || status=1; \
		./e2e/leftout.sh "$$GOPIPEWORK_LEFT_OUT" || status=1; \
	else \
		$(GO) test -timeout 20m ./... || status=1; \
		echo "this is not root; left out:"; \
		cut -f 3 "$$GOPIPEWORK_LEFT_OUT" | sort | uniq -c; \
	fi; \
	exit $$status

kernels: ## run what this kernel may lack on user-mode-linux, a kernel that has it (root)
	./e2e/kernels.sh

live: ## run the packages' tests on this machine's kernel (root)
	GOPIPEWORK_REQUIRE=root $(GO) test -count=1 $$($(GO) list ./... | grep -v /e2e)

e2e: ## test the built binary with real engines (root)
	./e2e/install.sh engines
	GOPIPEWORK_REQUIRE=$(ENGINES) $(GO) test -count=1 -timeout 20m -parallel 4 -v ./e2e

engines: ## test with the installed engines, and with the newest Docker Engine, which is built first (root)
	./e2e/engines.sh

soak: ## run longer: kill and interrupt at every system call, 1,000 random kills, 1,000 cycles (root)
	./e2e/install.sh engines
	GOPIPEWORK_REQUIRE=root,docker,ipv6,ovs,clients GOPIPEWORK_KILLS=1000 GOPIPEWORK_CYCLES=1000 GOPIPEWORK_BLOWS=0 \
		$(GO) test -count=1 -timeout 120m -v -run 'Kill|Leak|Sweep' ./e2e

torture: ## run a day of accidents for DAY seconds (600) under the race detector, then what soak runs (root)
	./e2e/install.sh engines race
	@set -ex; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; chmod 755 $$dir; \
	CGO_ENABLED=1 $(GO) build -race -o $$dir/gopipework ./cmd/gopipework; \
	GOPIPEWORK_BIN=$$dir GOPIPEWORK_DAY=$(DAY) GOPIPEWORK_REQUIRE=root,docker \
		$(GO) test -count=1 -timeout 120m -v -run 'TestDay$$' ./e2e
	$(MAKE) soak

fuzz: ## run each fuzz test for FUZZTIME (30s)
	@set -e; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
		done; \
	done

bench: ## compare start, attach, detach and list with the alternatives; BENCH_OLD=PATH adds an older gopipework (root)
	./e2e/install.sh
	$(GO) run ./e2e/bench

# govulncheck asks the Go vulnerability database over the network; where that
# cannot be reached, it fails and says so.
lint: ## run vet and staticcheck; look for an untidy go.mod and known vulnerabilities
	$(GO) vet ./...
	$(GO) mod tidy -diff
	cd e2e/importer && $(GO) vet ./... && $(GO) mod tidy -diff
	cd e2e/cniparts && $(GO) mod tidy -diff
	cd e2e/manifests && $(GO) vet ./... && $(GO) mod tidy -diff
	cd packaging/image && $(GO) vet ./... && $(GO) mod tidy -diff
	cd packaging/tools && $(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(GOVULNCHECK) ./...

map: ## redraw the picture of the packages in README.md, write the findings of doctor into the man page, and print measurements of the code
	$(GO) run ./e2e/house -write
	$(GO) run ./e2e/house -measure

page: ## bundle anew what the page of graph --serve uses of others (Node.js, npm)
	./internal/graphpage/page/bundle.sh

docs: ## make the pictures in docs anew, and check the page of graph --serve in Chromium (root; chromium, Node.js, npm)
	./docs/pictures.sh

demo: ## play the demo on a network of its own; STEP=docker plays one section (root)
	./e2e/demo.sh $(STEP)

man: ## show the man page
	man -l cmd/gopipework/gopipework.8

install: build ## install the binary, a link called pipework, man pages, completions, a unit for systemd and examples under PREFIX (/usr/local)
	install -D -m 755 $(DEST) $(DESTDIR)$(PREFIX)/bin/gopipework
	ln -sf gopipework $(DESTDIR)$(PREFIX)/bin/pipework
	install -d $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 cmd/gopipework/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 cmd/gopipework/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -D -m 644 cmd/gopipework/completion/gopipework.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/gopipework
	install -D -m 644 cmd/gopipework/completion/gopipework.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_gopipework
	install -D -m 644 cmd/gopipework/completion/gopipework.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/gopipework.fish
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local|$(PREFIX)|' examples/gopipework.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/gopipework.service
	install -d $(DESTDIR)$(PREFIX)/share/doc/gopipework/examples
	install -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/gopipework
	install -d $(DESTDIR)$(PREFIX)/share/doc/gopipework/docs
	install -m 644 docs/*.md docs/*.png $(DESTDIR)$(PREFIX)/share/doc/gopipework/docs
	install -m 644 examples/*.yaml examples/*.hcl examples/*.json examples/*.conflist $(DESTDIR)$(PREFIX)/share/doc/gopipework/examples
	sed -i 's|"/usr/bin/gopipework"|"$(PREFIX)/bin/gopipework"|' $(DESTDIR)$(PREFIX)/share/doc/gopipework/examples/*.json $(DESTDIR)$(PREFIX)/share/doc/gopipework/docs/hook.md

packages: ## build packages for Debian, Red Hat, Alpine and Arch into dist
	rm -rf dist
	./packaging/release.sh dist deb rpm apk archlinux

release: ## build packages, tarballs, images, SBOM and checksums of the commit into dist, twice, and compare
	@test -z "$$(git status --porcelain)" || { echo "commit first: a release is of a commit"; git status --short; exit 1; }
	rm -rf dist
	./packaging/release.sh dist
	@again=$$(mktemp -d); trap 'rm -rf "$$again"' EXIT; \
	./packaging/release.sh "$$again" && diff -r dist "$$again" && echo "built twice, equal:" && ls -l dist

clean: ## delete what the build made
	rm -rf gopipework dist
	$(GO) clean ./...
