// SPDX-License-Identifier: GPL-3.0-or-later

// Command relay measures CHmail's relay beside nats-server's JetStream on files
// with sync_interval: always, a broker that keeps what it acknowledges, both
// over TLS.
//
// Each server is a process of its own; the load comes from this one. The relay
// is the production code: package chatrelay behind package web's listener, with
// rooms in SQLite, every message committed before its acknowledgement. Rounds
// alternate between the servers, and medians are printed as a table:
//
//	idle       resident memory a connection
//	cost       processor time a delivery, in rooms of several sizes
//	latency    time from sending to delivery at a fixed rate
//	reconnect  time until everyone is served again after a SIGKILL
//
// A virtual machine whose host is busy with others is not idle, whatever it
// does itself: such measurements are thrown away and repeated.
//
// A delivery is one message at one member of its room: the writer's own copy,
// which is the acknowledgement here and the echo at JetStream, counts as one. The
// docs/performance.md table says what is expected of each figure.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// settings are the flags.
type settings struct {
	nats    string // the nats-server program
	dir     string // for databases, keys and certificates
	servers []string
	rounds  int
	sizes   []int // of rooms
	idle    int   // connections
	active  int   // connections that send messages
	rate    int   // deliveries a second
	pace    int   // deliveries a second, for latency
	span    time.Duration
	stolen  float64 // per cent of the processors' time that the host may take
	again   int     // connections that come back
	profile string
}

// row is one line of the result: what was measured, on which server.
type row struct{ what, server, unit string }

// results are figures by row, one a round.
type results struct {
	order []row
	all   map[row][]float64
	quiet bool // not said at once
}

func (r *results) add(what, server, unit string, v float64) {
	k := row{what, server, unit}
	if r.all == nil {
		r.all = map[row][]float64{}
	}
	if r.all[k] == nil {
		r.order = append(r.order, k)
	}
	r.all[k] = append(r.all[k], v)
	if !r.quiet {
		fmt.Fprintf(os.Stderr, "%s, %s: %.4g %s\n", what, server, v, unit)
	}
}

// take adds the figures of one measurement.
func (r *results) take(from *results) {
	for _, k := range from.order {
		for _, v := range from.all[k] {
			r.add(k.what, k.server, k.unit, v)
		}
	}
}

func (r *results) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "measured\tserver\tmedian\tleast\tmost\tunit\trounds")
	for _, k := range r.order {
		list := slices.Sorted(slices.Values(r.all[k]))
		fmt.Fprintf(t, "%s\t%s\t%.4g\t%.4g\t%.4g\t%s\t%d\n", k.what, k.server, list[len(list)/2], list[0],
			list[len(list)-1], k.unit, len(list))
	}
	t.Flush()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "relay serve:", err)
			os.Exit(1)
		}
		return
	}
	s := settings{}
	servers, sizes := "websocket,webtransport,jetstream", "2,10,100"
	flag.StringVar(&s.nats, "nats", "nats-server", "the nats-server `program`")
	flag.StringVar(&servers, "servers", servers, "what is measured, in this order within a round")
	flag.StringVar(&sizes, "sizes", sizes, "sizes of rooms")
	flag.StringVar(&s.dir, "dir", "", "for databases, which should be on a real disk; default: a temporary one")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds")
	flag.IntVar(&s.idle, "idle", 5000, "idle connections")
	flag.IntVar(&s.active, "active", 400, "connections that talk")
	flag.IntVar(&s.rate, "rate", 3000, "deliveries a second, for the processor time")
	flag.IntVar(&s.pace, "pace", 3000, "deliveries a second, for the latency")
	flag.DurationVar(&s.span, "span", 5*time.Second, "how long each is measured")
	flag.Float64Var(&s.stolen, "stolen", 2, "per cent of the processors' time that the virtual machine's host may"+
		" take for others; what it takes more of is measured again, 5 times at most")
	flag.IntVar(&s.again, "again", 10000, "connections that come back after a restart")
	flag.StringVar(&s.profile, "profile", "", "`folder` for profiles of the relay; makes the figures worse")
	flag.Parse()
	s.servers = strings.Split(servers, ",")
	for n := range strings.SplitSeq(sizes, ",") {
		var size int
		if _, err := fmt.Sscan(n, &size); err != nil || size < 2 {
			fmt.Fprintln(os.Stderr, "relay: -sizes:", n)
			os.Exit(2)
		}
		s.sizes = append(s.sizes, size)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, what []string) error {
	if len(what) == 0 {
		what = []string{"idle", "cost", "latency", "reconnect"}
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "chmail-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.dir = dir
	}
	if _, err := exec.LookPath(s.nats); err != nil && slices.Contains(s.servers, "jetstream") {
		return fmt.Errorf("%w: go install github.com/nats-io/nats-server/v2@v2.15.2, or leave it out with -servers",
			err)
	}
	var out results
	defer out.print(os.Stdout)
	kinds := map[string]func(context.Context, settings, *results) error{"idle": idle, "cost": cost,
		"latency": latency, "reconnect": reconnect}
	for _, w := range what {
		do := kinds[w]
		if do == nil {
			return fmt.Errorf("%q cannot be measured; there are idle, cost, latency, reconnect", w)
		}
		if err := do(ctx, s, &out); err != nil {
			return fmt.Errorf("measuring %s: %w", w, err)
		}
	}
	return nil
}
