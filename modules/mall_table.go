// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/chmail/chmail/mall/store"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

// MallTable is table.mall, from the address of a shop to the logins of its staff, so
// that a mail to a shop reaches whoever works for it:
//
//	replace_rcpt &shops
//
//	table.mall shops { }
type MallTable struct {
	base
}

var (
	_ module.Module     = (*MallTable)(nil)
	_ module.MultiTable = (*MallTable)(nil)
)

func init() {
	register("table.mall", func(b base) module.Module { return &MallTable{base: b} })
}

// shops is the database of this process's mall, which may not be open yet; nil: there is
// no mall.
var shops atomic.Pointer[late[*store.Store]]

// errMallAway: the mall's database could not be reached since the start.
var errMallAway = errors.New("the mall's database cannot be reached yet")

// Init implements module.Module.
func (t *MallTable) Init(cfg *config.Map) error {
	_, err := cfg.Process()
	return err
}

// Lookup implements module.Table.
func (t *MallTable) Lookup(ctx context.Context, addr string) (string, bool, error) {
	staff, err := t.LookupMulti(ctx, addr)
	if err != nil || len(staff) == 0 {
		return "", false, err
	}
	return staff[0], true, nil
}

// LookupMulti implements module.MultiTable. While it cannot be said whose an address is,
// the client keeps its mail.
func (t *MallTable) LookupMulti(ctx context.Context, addr string) ([]string, error) {
	db := shops.Load()
	if db == nil {
		return nil, nil
	}
	var staff []string
	err := errMallAway
	if s := db.get(); s != nil {
		staff, err = s.StaffAt(ctx, strings.ToLower(addr))
	}
	if err != nil {
		return nil, &exterrors.SMTPError{Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 3, 0},
			Message: "The shops of the mall cannot be looked up now, try again", Err: err}
	}
	return staff, nil
}
