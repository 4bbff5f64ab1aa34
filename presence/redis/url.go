// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// parseURL reads where Redis is:
//
//	redis://[user:password@]host[:6379][,host…][/db][?…]
//
// rediss: is the same over TLS. Several hosts are a Cluster, or the Sentinels
// of ?master=NAME (with sentinel_username and sentinel_password); one host with
// ?cluster=yes is a Cluster too. ?ca=FILE names the PEM file of the authority
// that signed Redis' certificate. Errors hold no password.
func parseURL(s string) (*goredis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "redis" && scheme != "rediss") {
		return nil, errors.New("reading the Redis URL: want redis:// or rediss://")
	}
	// net/url knows one host only; the others are read here.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@') + 1
	u, err := url.Parse(scheme + "://" + rest[:at] + "host" + rest[end:])
	if err != nil {
		return nil, errors.New("reading the Redis URL: its user, path or query cannot be read")
	}
	opt := &goredis.UniversalOptions{}
	for _, h := range strings.Split(rest[at:end], ",") {
		host, port, err := net.SplitHostPort(h)
		if err != nil { // no port
			host, port = strings.Trim(h, "[]"), "6379"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsAny(host, " @") {
			return nil, fmt.Errorf("reading the Redis URL: %q is not a host and port", h)
		}
		if host == "" {
			host = "localhost"
		}
		opt.Addrs = append(opt.Addrs, net.JoinHostPort(host, port))
	}
	opt.Username = u.User.Username()
	opt.Password, _ = u.User.Password()
	if db := strings.Trim(u.Path, "/"); db != "" {
		if opt.DB, err = strconv.Atoi(db); err != nil || opt.DB < 0 {
			return nil, fmt.Errorf("reading the Redis URL: %q is not a database number", db)
		}
	}
	var ca string
	for name, values := range u.Query() {
		v := values[len(values)-1]
		switch name {
		case "master":
			opt.MasterName = v
		case "sentinel_username":
			opt.SentinelUsername = v
		case "sentinel_password":
			opt.SentinelPassword = v
		case "ca":
			ca = v
		case "cluster":
			opt.IsClusterMode = v == "yes" || v == "true" || v == "1"
		default:
			return nil, fmt.Errorf("reading the Redis URL: unknown parameter %q", name)
		}
	}
	if cluster := opt.IsClusterMode || (len(opt.Addrs) > 1 && opt.MasterName == ""); cluster && opt.DB != 0 {
		return nil, errors.New("reading the Redis URL: a Cluster has database 0 only")
	}
	if scheme == "rediss" {
		opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if len(opt.Addrs) == 1 {
			opt.TLSConfig.ServerName, _, _ = net.SplitHostPort(opt.Addrs[0])
		}
		if ca != "" {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return nil, fmt.Errorf("reading the Redis authority: %w", err)
			}
			opt.TLSConfig.RootCAs = x509.NewCertPool()
			if !opt.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("reading the Redis authority: no certificate in %s", ca)
			}
		}
	}
	return opt, nil
}
