// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// OpenIMAPSQL opens a storage.imapsql to import from; close it as an io.Closer.
// It makes none: an SQLite file or a folder of bodies that is not there is an
// error that wraps os.ErrNotExist.
func OpenIMAPSQL(driver, dsn, messages string) (module.ManageableStorage, error) {
	paths := []string{messages}
	if driver == "sqlite3" {
		path, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
		paths = append(paths, path)
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("opening storage.imapsql: %w", err)
		}
	}
	factory := module.Get("storage.imapsql")
	if factory == nil {
		return nil, errors.New("this program has no storage.imapsql")
	}
	mod, err := factory("storage.imapsql", "import", nil, nil)
	if err != nil {
		return nil, err
	}
	directive := func(name string, args ...string) config.Node { return config.Node{Name: name, Args: args} }
	block := config.Node{Children: []config.Node{
		directive("driver", driver), directive("dsn", dsn),
		directive("sqlite3_busy_timeout", "60000"), directive("msg_store", "fs", messages),
	}}
	if err := mod.Init(config.NewMap(nil, block)); err != nil {
		return nil, fmt.Errorf("opening storage.imapsql: %w", err)
	}
	return mod.(module.ManageableStorage), nil
}
