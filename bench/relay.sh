#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Measures the relay beside nats-server with JetStream: make bench-relay, or
#   bench/relay.sh [flags of bench/relay] [idle|cost|latency|reconnect ...]
# nats-server comes from the Go module proxy into a folder of its own and is no
# part of this module. Figures need a machine that does nothing else: the load
# average is printed before and after.
set -eu
cd "$(dirname "$0")/.."
tools=${XDG_CACHE_HOME:-$HOME/.cache}/chmail-bench
version=v2.15.2
mkdir -p "$tools"
if [ ! -x "$tools/nats-server-$version/nats-server" ]; then
	echo "bench: fetching nats-server $version" >&2
	GOBIN="$tools/nats-server-$version" GOFLAGS= go install "github.com/nats-io/nats-server/v2@$version"
fi
go build -o "$tools/relay" ./bench/relay
echo "load average before: $(cat /proc/loadavg)"
"$tools/relay" -nats "$tools/nats-server-$version/nats-server" "$@"
echo "load average after: $(cat /proc/loadavg)"
