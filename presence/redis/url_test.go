// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"fmt"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	pt "github.com/chmail/chmail/presence/presencetest"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	const full = "redis://us%40r:p%2Fw@a:1,b,[::1]:3/0?master=m&sentinel_password=x"
	o := pt.Must[*goredis.UniversalOptions](t)(parseURL(full))
	if fmt.Sprint(o.Addrs) != "[a:1 b:6379 [::1]:3]" || o.Username != "us@r" || o.Password != "p/w" ||
		o.MasterName != "m" || o.SentinelPassword != "x" {
		t.Errorf("%+v", o)
	}
	o = pt.Must[*goredis.UniversalOptions](t)(parseURL("rediss://redis.example/4"))
	if o.DB != 4 || o.TLSConfig == nil || o.TLSConfig.ServerName != "redis.example" {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"", "localhost:6379", "http://x", "redis://u:secret@h:port", "redis://u:secret@h/x",
		"redis://u:secret@h?what=1", "redis://u:secret%zz@h", "redis://a,b/3", "rediss://u:secret@h?ca=/nonexistent"} {
		if _, err := parseURL(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	if _, err := Open(Options{URL: "redis://h", Prefix: "a{b"}); err == nil {
		t.Error("a prefix with a brace was taken")
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"redis://a", "redis://u:p@a:1,b:2/0?master=m", "rediss://[::1]:6379/3",
		"redis://?cluster=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := parseURL(s); err == nil && len(o.Addrs) == 0 {
			t.Errorf("%q has no address", s)
		}
	})
}
