// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"cmp"
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
	opt, err := readURL(s)
	if err != nil {
		return nil, fmt.Errorf("reading the Redis URL: %w", err)
	}
	return opt, nil
}

func readURL(s string) (*goredis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "redis" && scheme != "rediss") {
		return nil, errors.New("want redis:// or rediss://")
	}
	// net/url knows one host only; the others are read here.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@') + 1
	u, err := url.Parse(scheme + "://" + rest[:at] + "host" + rest[end:])
	if err != nil {
		return nil, errors.New("its user, path or query cannot be read")
	}
	opt := &goredis.UniversalOptions{Username: u.User.Username()}
	opt.Password, _ = u.User.Password()
	if opt.Addrs, err = readHosts(rest[at:end]); err != nil {
		return nil, err
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if opt.DB, err = strconv.Atoi(db); err != nil || opt.DB < 0 {
			return nil, fmt.Errorf("%q is not a database number", db)
		}
	}
	ca, err := readParameters(u.Query(), opt)
	if err != nil {
		return nil, err
	}
	if cluster := opt.IsClusterMode || (len(opt.Addrs) > 1 && opt.MasterName == ""); cluster && opt.DB != 0 {
		return nil, errors.New("a Cluster has database 0 only")
	}
	if scheme == "rediss" {
		opt.TLSConfig, err = tlsConfig(opt.Addrs, ca)
	}
	return opt, err
}

// readHosts reads hosts with or without ports.
func readHosts(list string) (addrs []string, err error) {
	for _, h := range strings.Split(list, ",") {
		host, port, err := net.SplitHostPort(h)
		if err != nil { // no port
			host, port = strings.Trim(h, "[]"), "6379"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsAny(host, " @") {
			return nil, fmt.Errorf("%q is not a host and port", h)
		}
		addrs = append(addrs, net.JoinHostPort(cmp.Or(host, "localhost"), port))
	}
	return addrs, nil
}

// readParameters reads the part after the question mark, and returns the file of
// the authority.
func readParameters(query url.Values, opt *goredis.UniversalOptions) (ca string, err error) {
	for name, values := range query {
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
			return "", fmt.Errorf("unknown parameter %q", name)
		}
	}
	return ca, nil
}

// tlsConfig trusts the authority of a file, or those of the system.
func tlsConfig(addrs []string, ca string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(addrs) == 1 {
		c.ServerName, _, _ = net.SplitHostPort(addrs[0])
	}
	if ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	return c, nil
}
