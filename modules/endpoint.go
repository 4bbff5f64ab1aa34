// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/foxcpp/maddy/framework/config"
)

// openListeners takes every address of an endpoint, tcp:// or tls://, or none.
func openListeners(addresses []string, setup *tls.Config) (listeners []net.Listener, err error) {
	for _, given := range addresses {
		l, err := openListener(given, setup)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, fmt.Errorf("listening on %s: %w", given, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func openListener(given string, setup *tls.Config) (net.Listener, error) {
	endpoint, err := config.ParseEndpoint(given)
	if err != nil {
		return nil, err
	}
	if endpoint.IsTLS() && setup == nil {
		return nil, errors.New("tls:// without a TLS configuration")
	}
	l, err := net.Listen(endpoint.Network(), endpoint.Address())
	if err != nil {
		return nil, err
	}
	if endpoint.IsTLS() {
		l = tls.NewListener(l, setup)
	}
	return l, nil
}
