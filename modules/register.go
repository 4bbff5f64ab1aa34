// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/web"
)

// registration reads the directive of the block web:
//
//	registration closed                # the administrator makes the logins
//	registration invite mall.example   # with an invitation of `chmaild invite`
//	registration open mall.example     # everybody
func registration(_ *config.Map, node config.Node) (any, error) {
	switch args := node.Args; {
	case slices.Equal(args, []string{"closed"}):
		return (*web.Registration)(nil), nil
	case len(args) == 2 && (args[0] == "invite" || args[0] == "open"):
		return &web.Registration{Domain: strings.ToLower(args[1]), Invited: args[0] == "invite"}, nil
	}
	return nil, config.NodeErr(node,
		"write `registration closed`, `registration invite DOMAIN` or `registration open DOMAIN`")
}

// registrar makes accounts, as the command user add does.
type registrar struct {
	of  *Accounts
	one sync.Mutex // of two who want the same login, the second is told that it is taken
}

func (r *registrar) create(ctx context.Context, login, given string) error {
	owner := owners.Load()
	if owner == nil {
		return errors.New("the server has not started yet")
	}
	r.one.Lock()
	defer r.one.Unlock()
	there, err := r.of.Exists(ctx, login)
	if err != nil {
		return err
	}
	// Whoever had the login before may have left conversations, which are not the next one's to read.
	rooms, err := owner.Rooms(ctx, login)
	if err != nil {
		return fmt.Errorf("looking for conversations of %s: %w", login, err)
	}
	if there || rooms > 0 {
		return web.ErrTaken
	}
	store, err := owner.Parts.Addresses()
	if err != nil {
		return err
	}
	if store != nil {
		_, err := store.Named(ctx, login)
		if err == nil { // an alias
			return web.ErrTaken
		}
		if !errors.Is(err, addresses.ErrUnknown) {
			return err
		}
	}
	return owner.AddUser(ctx, login, given)
}
