# SPDX-License-Identifier: GPL-3.0-or-later
#
# make run     build CHmail and start the demo on loopback: http://localhost:8080
# make test    install what the tests need from Debian (when it may) and run all tests
# make build   bin/chmaild
# make bench   benchmarks; make bench-relay runs only those of the relay beside nats-server
# make lint    formatting, go vet, staticcheck
# make fmt     format the Go code

STATE ?= $(HOME)/.local/state/chmail-demo
ESBUILD = go tool esbuild --log-level=warning --bundle --minify --target=es2022
UI = $(wildcard web/ui/*.ts web/ui/*.css web/ui/messages/*.json)

.PHONY: run test build bench bench-relay lint fmt parts

run: build
	bin/chmaild demo --state "$(STATE)"

build: web/assets/app.js web/assets/app.css web/assets/sw.js
	go build -o bin/chmaild ./cmd/chmaild

web/assets/app.js: $(UI) go.mod
	$(ESBUILD) --format=esm --outfile=$@ web/ui/app.ts

web/assets/sw.js: $(UI) go.mod
	$(ESBUILD) --format=iife --outfile=$@ web/ui/sw.ts

web/assets/app.css: $(UI) go.mod
	$(ESBUILD) --outfile=$@ web/ui/app.css

test: parts build
	go test -race -shuffle=on -timeout 14m ./...

parts:
	@deploy/test-parts

bench: build
	go test -run '^$$' -bench . -benchmem ./...
	bench/relay.sh
	bench/mail.sh
	CHMAIL_RINGS=1000 go test ./e2e -run TestRingTime -v

bench-relay: build
	bench/relay.sh

lint: web/assets/app.js web/assets/app.css web/assets/sw.js
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not formatted: run make fmt'; exit 1; }
	go vet ./...
	go tool staticcheck ./...

fmt:
	gofmt -w .
