// SPDX-License-Identifier: GPL-3.0-or-later

// Package certificates gets the certificates of this machine's names from an authority that
// speaks ACME (RFC 8555), such as Let's Encrypt, and renews them.
//
// A Keeper asks only for names whose address in the DNS is this machine's, and looks again
// every few minutes, so that a new domain needs no restart. The authority proves the names by
// HTTP-01 on port 80 (Answer) or TLS-ALPN-01 on port 443 (Certificate, where the listener offers
// the protocol "acme-tls/1"). Renewed certificates are used from the next handshake on, and no
// connection is dropped. Until there is one, a self-signed certificate stands in.
package certificates

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/chmail/chmail/internal/safely"
)

// Authority is the ACME directory that is asked where none is named.
const Authority = certmagic.LetsEncryptProductionCA

const (
	looking      = 5 * time.Minute // between two looks at the names
	asking       = 30 * time.Second
	standInLives = 365 * 24 * time.Hour
	ending       = 2 * time.Second // to remove the locks of a Keeper that closes
	maxNames     = 1000
)

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
}

// Options of a Keeper.
type Options struct {
	Folder string         // keeps keys and certificates, for its owner alone
	CA     string         // URL of the authority's directory; "" is Authority
	Roots  *x509.CertPool // whom to trust as the authority's server; nil: the system's
	Email  string         // where the authority writes to; may be ""
	// HTTPOnly leaves TLS-ALPN-01 out, which a proxy that ends TLS does not pass on.
	HTTPOnly bool
	Host     string          // whose certificate answers clients that name no other
	Names    func() []string // all names, Host among them; it is asked again and again
	Resolver Resolver        // nil is net.DefaultResolver
	// Addresses are this machine's own; nil: those of its interfaces.
	Addresses func() ([]net.IP, error)
	Log       *slog.Logger // nil: nothing is logged

	every time.Duration // between two looks; 0 is looking
}

// Keeper keeps the certificates. It is safe for concurrent use.
type Keeper struct {
	opts    Options
	cache   *certmagic.Cache
	config  *certmagic.Config
	issuer  *certmagic.ACMEIssuer
	standIn *tls.Certificate

	mu    sync.Mutex
	asked map[string]bool
	left  map[string]string // names that are not asked for, and why
}

// Open reads the certificates that an earlier Keeper got. It asks nobody; Run does.
func Open(ctx context.Context, o Options) (*Keeper, error) {
	o.CA, o.every = cmp.Or(o.CA, Authority), cmp.Or(o.every, looking)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Addresses == nil {
		o.Addresses = Addresses
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{opts: o, asked: make(map[string]bool), left: make(map[string]string)}
	var err error
	if k.standIn, err = selfSigned(o.Host); err != nil {
		return nil, fmt.Errorf("making a self-signed certificate: %w", err)
	}
	silent := zap.NewNop() // what it has to say comes as events
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		Logger: silent, RenewCheckInterval: o.every,
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return k.config, nil },
	})
	k.config = certmagic.New(k.cache, certmagic.Config{
		Storage: storage(o.Folder), Logger: silent, OnEvent: k.event,
		DefaultServerName: o.Host, FallbackServerName: o.Host,
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	k.issuer = certmagic.NewACMEIssuer(k.config, certmagic.ACMEIssuer{
		CA: o.CA, TrustedRoots: o.Roots, Email: o.Email, Agreed: true, Logger: silent,
		DisableTLSALPNChallenge: o.HTTPOnly,
	})
	k.config.Issuers = []certmagic.Issuer{k.issuer}
	missing := false
	for _, name := range k.names() {
		_, err := k.config.CacheManagedCertificate(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			missing = missing || name == o.Host
		} else if err != nil {
			k.cache.Stop()
			return nil, fmt.Errorf("reading the certificate of %s: %w", name, err)
		}
	}
	if missing {
		o.Log.Warn("there is no certificate yet: a self-signed one, which clients warn of, stands in", "name", o.Host)
	}
	return k, nil
}

// storage keeps files of mode 0600 in folders of mode 0700.
func storage(folder string) *certmagic.FileStorage { return &certmagic.FileStorage{Path: folder} }

func (k *Keeper) names() []string {
	names := k.opts.Names()
	if len(names) > maxNames {
		k.opts.Log.Error("too many names: no certificates for the last ones", "names", len(names), "limit", maxNames)
		names = names[:maxNames]
	}
	return names
}

// Run asks for certificates and renews them until ctx ends. It begins when the listeners are
// there, by which the authority proves the names.
func (k *Keeper) Run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			k.look(ctx)
			next.Reset(k.opts.every)
		}
	}
}

// look asks for the names that are new and lead here, and tells of the others.
func (k *Keeper) look(ctx context.Context) {
	defer safely.Recover(k.opts.Log, "looking for names without certificates")
	left := make(map[string]string)
	for _, name := range k.names() {
		if k.isAsked(name) {
			continue
		}
		if err := k.leadsHere(ctx, name); err != nil {
			left[name] = err.Error()
			continue
		}
		// Errors of the asking itself are events, and it is tried again and again.
		if err := k.config.ManageAsync(ctx, []string{name}); err != nil {
			left[name] = err.Error()
			continue
		}
		k.mu.Lock()
		k.asked[name] = true
		k.mu.Unlock()
	}
	k.mu.Lock()
	before := k.left
	k.left = left
	k.mu.Unlock()
	for name, reason := range left {
		if ctx.Err() == nil && before[name] != reason {
			k.opts.Log.Warn("no certificate is asked for", "name", name, "reason", reason)
		}
	}
}

func (k *Keeper) isAsked(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[name]
}

func (k *Keeper) leadsHere(ctx context.Context, name string) error {
	own, err := k.opts.Addresses()
	if err != nil {
		return fmt.Errorf("listing this machine's addresses: %w", err)
	}
	return LeadsHere(ctx, k.opts.Resolver, name, k.opts.Host, own)
}

// LeadsHere says why a name's addresses are not this machine's; nil: one of them is. own are
// those of the interfaces. Where none of them is public, this machine is behind another
// address, and host, its name, is believed.
func LeadsHere(ctx context.Context, r Resolver, name, host string, own []net.IP) error {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	found, err := addressesOf(ctx, r, name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(own, Public) {
		if name == host {
			return nil
		}
		if own, err = addressesOf(ctx, r, host); err != nil {
			return err
		}
	}
	for _, ip := range found {
		if slices.ContainsFunc(own, ip.Equal) {
			return nil
		}
	}
	return fmt.Errorf("its address in the DNS, %v, is not this machine's", found[0])
}

func addressesOf(ctx context.Context, r Resolver, name string) (ips []net.IP, err error) {
	found, err := r.LookupIPAddr(ctx, name)
	if e := (*net.DNSError)(nil); err != nil && (!errors.As(err, &e) || !e.IsNotFound) {
		return nil, fmt.Errorf("the DNS does not answer for %s: %w", name, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no address in the DNS", name)
	}
	for _, a := range found {
		ips = append(ips, a.IP)
	}
	return ips, nil
}

// Public says whether others can reach an address.
func Public(ip net.IP) bool { return ip.IsGlobalUnicast() && !ip.IsPrivate() }

// Addresses are those of this machine's interfaces, loopback aside.
func Addresses() (ips []net.IP, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			ips = append(ips, n.IP)
		}
	}
	return ips, nil
}

// event logs what became of a name.
func (k *Keeper) event(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewed, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtained":
		k.opts.Log.Info("got a certificate", "name", name, "renewed", renewed)
	case "cert_failed":
		err, _ := data["error"].(error)
		k.opts.Log.Warn("no certificate was given; it is asked for again later", "name", name, "err", err)
	}
	return nil
}

// Certificate is what a TLS client gets: the one of the name that it asks for, or else the
// host's; or the answer to TLS-ALPN-01 (RFC 8737).
func (k *Keeper) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := k.config.GetCertificate(hello)
	if err == nil || slices.Equal(hello.SupportedProtos, []string{Challenge}) {
		return cert, err
	}
	return k.standIn, nil
}

// Challenge is the ALPN protocol by which an authority proves a name.
const Challenge = "acme-tls/1"

// Answer answers the authority's question in HTTP-01 (RFC 8555 section 8.3), and says whether
// the request was one.
func (k *Keeper) Answer(w http.ResponseWriter, r *http.Request) bool {
	return k.issuer.HandleHTTPChallenge(w, r)
}

// Close ends what goes on in the background. Run has returned by then.
func (k *Keeper) Close() error {
	k.cache.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), ending)
	defer cancel()
	certmagic.CleanUpOwnLocks(ctx, zap.NewNop())
	return nil
}

// Stored reads the certificate of a name that a Keeper of an authority keeps in a folder, with
// its chain and without its key. The error is fs.ErrNotExist where it has none.
func Stored(folder, ca, name string) (cert tls.Certificate, err error) {
	issuer := certmagic.ACMEIssuer{CA: cmp.Or(ca, Authority)}
	path := storage(folder).Filename(certmagic.StorageKeys.SiteCert(issuer.IssuerKey(), name))
	text, err := os.ReadFile(path)
	if err != nil {
		return cert, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	if len(cert.Certificate) == 0 {
		return cert, fmt.Errorf("reading %s: it has no certificate", path)
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return cert, fmt.Errorf("reading %s: %w", path, err)
	}
	return cert, nil
}

// selfSigned stands in for a certificate.
func selfSigned(host string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(standInLives),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
