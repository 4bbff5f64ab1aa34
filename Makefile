# SPDX-License-Identifier: GPL-3.0-or-later
#
# make run     build CHmail and start the demo on loopback: http://localhost:8080
# make test    install what the tests need from Debian (when it may) and run all tests
# make check   the quick test: lint, and the tests that need no other program
# make build   bin/chmaild and bin/chmail
# make lint    formatting, go vet, staticcheck, the types of web/ui
# make addons  dist/chmail.xpi, the add-on for Thunderbird
# make fmt     format the Go code
# make dist    programs and packages for all systems, with checksums and a signature, in the folder dist
# make bench   benchmarks; make bench-relay runs only those of the relay beside nats-server

STATE ?= $(HOME)/.local/state/chmail-demo
UI = $(wildcard web/ui/*/*.ts web/ui/*/*.css internal/words/*.json web/bundle/*.go)
ASSETS = web/assets/app.css
TSC = web/ui/node_modules/.package-lock.json

.PHONY: help run test check build addons dist bench bench-relay lint types fmt parts tools

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: build
	bin/chmaild demo --state "$(STATE)"

build: $(ASSETS)
	go build -o bin/chmaild ./cmd/chmaild
	CGO_ENABLED=0 go build -o bin/chmail ./cmd/chmail

addons:
	go run ./deploy/thunderbird/pack dist/chmail.xpi

# What every build needs is missed now, not after minutes.
tools:
	@command -v go >/dev/null || { echo 'make: Go is missing: install Go 1.26 from https://go.dev/dl/' >&2; exit 1; }
	@[ "$$(go env CGO_ENABLED)" = 1 ] && echo '#include <stdlib.h>' | $$(go env CC) -E - >/dev/null || { echo \
		'make: SQLite needs a C compiler: apt-get install gcc libc6-dev, and leave CGO_ENABLED alone' >&2; exit 1; }
	@[ -e bin/chmaild ] || echo 'make: the first build loads 550 MB of Go modules and takes about 5 minutes'

# The scripts are written with the stylesheet.
$(ASSETS): $(UI) go.mod | tools
	go run ./web/bundle

test: parts build
	go test -race -shuffle=on -timeout 25m ./...

check: lint
	go test -short ./...

parts:
	@deploy/test-parts

dist: build
	@deploy/dist

bench: build
	go test -run '^$$' -bench . -benchmem ./...
	bench/relay.sh
	bench/mail.sh
	CHMAIL_RINGS=1000 go test ./e2e -run TestRingTime -v
	CHMAIL_DIRECT=100 go test ./e2e -run TestDirectTime -v

bench-relay: build
	bench/relay.sh

lint: $(ASSETS) types
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not formatted: run make fmt'; exit 1; }
	go vet ./...
	GOOS=windows CGO_ENABLED=0 go vet ./cmd/chmail ./agent/...
	GOOS=darwin CGO_ENABLED=0 go vet ./cmd/chmail ./agent/...
	go tool staticcheck ./...

types:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(TSC) && web/ui/node_modules/.bin/tsc -p web/ui; \
	else echo 'NOT CHECKED: the types of web/ui: npm is missing; make parts installs it' >&2; [ "$$CI" != true ]; fi

$(TSC): web/ui/package-lock.json
	cd web/ui && npm ci

fmt:
	gofmt -w .
