// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import "context"

// rulesKey is a hash of what the hosts' guards share.
func (d *Directory) rulesKey() string { return d.opt.Prefix + ":{guard}" }

// Rules returns texts that the hosts share, by key.
func (d *Directory) Rules(ctx context.Context) (all map[string]string, err error) {
	err = d.listing(ctx, "rules", func(ctx context.Context) error {
		all, err = d.client.HGetAll(ctx, d.rulesKey()).Result()
		return err
	})
	return all, err
}

// PutRules stores texts, each in the place of that of its key.
func (d *Directory) PutRules(ctx context.Context, texts map[string]string) error {
	return d.listing(ctx, "rules", func(ctx context.Context) error {
		return d.client.HSet(ctx, d.rulesKey(), texts).Err()
	})
}

// DeleteRules removes the texts of keys.
func (d *Directory) DeleteRules(ctx context.Context, keys []string) error {
	return d.listing(ctx, "rules", func(ctx context.Context) error {
		return d.client.HDel(ctx, d.rulesKey(), keys...).Err()
	})
}
