// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"sync"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mall"
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

// openMall is the mall of this process, for its table; nil before it is open.
var openMall struct {
	sync.Mutex
	mall *mall.Mall
}

func setOpenMall(m *mall.Mall) {
	openMall.Lock()
	defer openMall.Unlock()
	openMall.mall = m
}

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

// LookupMulti implements module.MultiTable.
func (t *MallTable) LookupMulti(_ context.Context, addr string) ([]string, error) {
	openMall.Lock()
	m := openMall.mall
	openMall.Unlock()
	if m == nil {
		return nil, nil
	}
	return m.StaffOf(addr), nil
}
