// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"net/netip"

	"github.com/chmail/chmail/guard/reputation"
)

// ErrNoGuard: the server has no guard.
var ErrNoGuard = errors.New("the configuration has no block guard, or the server does not run")

// MaxListed is how many addresses are listed.
const MaxListed = 10_000

// Guards are what a command can ask of what keeps addresses out.
type Guards interface {
	// GuardList lists the addresses that are met worse than others, and the rules.
	GuardList(ctx context.Context) (GuardListing, error)
	// GuardWhy says what is known of an address.
	GuardWhy(ctx context.Context, ip netip.Addr) ([]reputation.Standing, error)
	// GuardAdd adds a rule. asks is from where, where that is known.
	GuardAdd(ctx context.Context, r reputation.Rule, asks netip.Addr) error
	// GuardRemove takes the rules of a prefix back, and forgives what its addresses did.
	GuardRemove(ctx context.Context, p netip.Prefix) (rules int, err error)
}

// GuardListing is what there is to see of a guard.
type GuardListing struct {
	DryRun    bool                  `json:"dry_run"`
	Addresses []reputation.Standing `json:"addresses"`
	Rules     []reputation.Rule     `json:"rules"`
}

// Guard is a *reputation.Keeper.
type Guard interface {
	DryRun() bool
	List(from reputation.Level, most int) []reputation.Standing
	Rules() []reputation.Rule
	Why(ip netip.Addr) []reputation.Standing
	Add(ctx context.Context, r reputation.Rule, asks netip.Addr) error
	Remove(ctx context.Context, p netip.Prefix) (int, error)
}

// GuardList implements Guards.
func (o *Owner) GuardList(context.Context) (GuardListing, error) {
	g, err := o.Parts.Guard()
	if err != nil {
		return GuardListing{}, err
	}
	return GuardListing{DryRun: g.DryRun(), Addresses: notNil(g.List(reputation.Slow, MaxListed)),
		Rules: notNil(g.Rules())}, nil
}

// GuardWhy implements Guards.
func (o *Owner) GuardWhy(_ context.Context, ip netip.Addr) ([]reputation.Standing, error) {
	g, err := o.Parts.Guard()
	if err != nil {
		return nil, err
	}
	return g.Why(ip), nil
}

// GuardAdd implements Guards.
func (o *Owner) GuardAdd(ctx context.Context, r reputation.Rule, asks netip.Addr) error {
	g, err := o.Parts.Guard()
	if err != nil {
		return err
	}
	return g.Add(ctx, r, asks)
}

// GuardRemove implements Guards.
func (o *Owner) GuardRemove(ctx context.Context, p netip.Prefix) (int, error) {
	g, err := o.Parts.Guard()
	if err != nil {
		return 0, err
	}
	return g.Remove(ctx, p)
}
