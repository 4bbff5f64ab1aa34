// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/foxcpp/maddy"
	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/hooks"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
)

// endPatience is how long the server may take to end after a signal. It promises
// ten seconds; maddy's endpoints wait for as long as clients keep sessions open.
const endPatience = 8 * time.Second

// Run runs the server of a configuration until a signal ends it, as `maddy run`
// does. Besides, it has the state directory for itself, and answers commands
// from before it says that it is ready until it ends. logTo is where the log
// goes, unless the configuration says so.
func Run(f *config.File, logTo []string) (err error) {
	defer func() {
		if err != nil {
			tellSystemd("STATUS=" + strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}()
	if log.DefaultLogger.Out, err = maddy.LogOutputOption(logTo); err != nil {
		return err
	}
	defer func() { log.DefaultLogger.Out.Close() }()
	globals, blocks, err := maddy.ReadGlobals(f.Nodes)
	if err != nil {
		return err
	}
	for _, n := range f.Nodes {
		if n.Name == "log" {
			logTo = n.Args
		}
	}
	hooks.AddHook(hooks.EventLogRotate, func() { reopenLog(logTo) })
	if err := maddy.InitDirs(); err != nil {
		return err
	}
	claim, err := admin.Claim(context.Background(), maddyconfig.StateDirectory, 0)
	if errors.Is(err, admin.ErrClaimed) {
		log.Printf("%v: waiting for it", err)
		claim, err = admin.Claim(context.Background(), maddyconfig.StateDirectory, admin.Patience)
	}
	if err != nil {
		return err
	}
	defer claim.Close()
	if err := removeEmptyKeys(maddyconfig.StateDirectory); err != nil {
		return err
	}
	if domains := f.Domains(); len(domains) == 1 {
		allGuards.domain = domains[0]
	}
	endpoints, mods, err := maddy.RegisterModules(globals, blocks)
	if err != nil {
		return err
	}
	if err := start(globals, endpoints, mods); err != nil {
		return err
	}
	if err := syncFirstFiles(maddyconfig.StateDirectory); err != nil {
		return err
	}
	p := &parts{endpoints: endpoints, mods: mods}
	owner := admin.NewOwner(p.options(f, admin.Choice{}))
	owners.Store(owner)
	answers, err := admin.Serve(adminSocket(), owner,
		slog.New(&logHandler{out: log.Logger{Name: "admin", Debug: log.DefaultLogger.Debug}}))
	if err != nil {
		return err
	}
	// The last hook is the first to run: commands end before what they work on.
	hooks.AddHook(hooks.EventShutdown, func() {
		if err := answers.Close(); err != nil {
			log.Printf("ending the commands that run: %v", err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.lookDaily(ctx, f)
	tellSystemd("READY=1\nSTATUS=Listening for incoming connections...")
	waitForEnd()
	cancel()
	tellSystemd("STOPPING=1\nSTATUS=Waiting for running transactions to complete...")
	late := time.AfterFunc(endPatience, func() {
		log.Printf("some clients kept their connections open for %v after the signal: ending all the same;"+
			" what was acknowledged is on the disk, other mail comes again", endPatience)
		os.Exit(0)
	})
	defer late.Stop()
	hooks.RunHooks(hooks.EventShutdown)
	return nil
}

// owners has the owner of this process's files, from when the server has started.
var owners atomic.Pointer[admin.Owner]

// start starts the endpoints, and with each what it refers to.
func start(globals map[string]any, endpoints, mods []maddy.ModInfo) error {
	// What protects the others comes before them, and goes after them.
	if i := slices.IndexFunc(endpoints, func(e maddy.ModInfo) bool { return e.Cfg.Name == protectionBlock }); i > 0 {
		guard := endpoints[i]
		endpoints = slices.Insert(slices.Delete(endpoints, i, i+1), 0, guard)
	}
	for _, e := range endpoints {
		if err := e.Instance.Init(maddyconfig.NewMap(globals, e.Cfg)); err != nil {
			return err
		}
		closer, ok := e.Instance.(io.Closer)
		if !ok {
			continue
		}
		hooks.AddHook(hooks.EventShutdown, func() {
			if err := closer.Close(); err != nil {
				log.Printf("closing %s: %v", e.Instance.Name(), err)
			}
		})
	}
	for _, m := range mods {
		if !module.Initialized[m.Instance.InstanceName()] {
			return fmt.Errorf("unused configuration block at %s:%d - %s (%s)",
				m.Cfg.File, m.Cfg.Line, m.Instance.InstanceName(), m.Instance.Name())
		}
	}
	return nil
}

// waitForEnd obeys signals until one ends the server; the next one ends it at
// once. SIGHUP reloads, as with most servers.
func waitForEnd() {
	signals := make(chan os.Signal, 5)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	for s := range signals {
		event, status := hooks.EventLogRotate, "Reopening logs..."
		switch s {
		case syscall.SIGUSR1:
		case syscall.SIGUSR2, syscall.SIGHUP:
			event, status = hooks.EventReload, "Reloading state..."
		default:
			log.Printf("signal received (%v), next signal will force immediate shutdown.", s)
			go func() { // ends with the process
				for s := range signals {
					if s == os.Interrupt || s == syscall.SIGTERM {
						log.Printf("forced shutdown due to signal (%v)!", s)
						os.Exit(1)
					}
				}
			}()
			return
		}
		log.Printf("signal received (%v): %s", s, status)
		tellSystemd("RELOADING=1\nSTATUS=" + status)
		hooks.RunHooks(event)
		tellSystemd("READY=1\nSTATUS=Listening for incoming connections...")
	}
}

// reopenLog writes to new files where the old ones were moved away.
func reopenLog(to []string) {
	out, err := maddy.LogOutputOption(to)
	if err != nil {
		log.Printf("reopening the log: %v", err)
		return
	}
	old := log.DefaultLogger.Out
	log.DefaultLogger.Out = out
	old.Close()
}

// tellSystemd tells the service manager that started the process, if one did
// (sd_notify(3)).
func tellSystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path) // a leading @ is an abstract name, as there
	if err == nil {
		_, err = io.WriteString(conn, state)
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		log.Printf("telling systemd: %v", err)
	}
}
