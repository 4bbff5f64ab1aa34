// SPDX-License-Identifier: GPL-3.0-or-later

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/huin/goupnp"
	igd "github.com/huin/goupnp/dcps/internetgateway2"
)

const (
	upnpWait   = 8 * time.Second
	gatewayURN = "urn:schemas-upnp-org:device:InternetGatewayDevice:1" // which version 2 answers too
)

// wan is a service of a router that maps ports.
type wan interface {
	AddPortMappingCtx(ctx context.Context, remote string, external uint16, protocol string, port uint16, client string,
		enabled bool, description string, seconds uint32) error
	DeletePortMappingCtx(ctx context.Context, remote string, external uint16, protocol string) error
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
}

// upnp maps a port by UPnP. Only the router itself is asked: anything in the network can say that it is one.
func upnp(ctx context.Context, router netip.Addr, port int) (m Mapping, err error) {
	ctx, cancel := context.WithTimeout(ctx, upnpWait)
	defer cancel()
	found, err := goupnp.DiscoverDevicesCtx(ctx, gatewayURN)
	if err != nil {
		return m, fmt.Errorf("looking for a router with UPnP: %w", err)
	}
	err = errors.New("the router does not answer UPnP")
	for _, d := range found {
		if d.Err != nil || d.Location == nil || d.Location.Hostname() != router.String() {
			continue
		}
		for _, w := range wans(d) {
			if m, err = upnpAsk(ctx, w, toward(router), port); err == nil {
				return m, nil
			}
		}
	}
	return m, err
}

// wans are the services of a router that map ports.
func wans(d goupnp.MaybeRootDevice) (list []wan) {
	newer, _ := igd.NewWANIPConnection2ClientsFromRootDevice(d.Root, d.Location)
	for _, w := range newer {
		list = append(list, w)
	}
	older, _ := igd.NewWANIPConnection1ClientsFromRootDevice(d.Root, d.Location)
	for _, w := range older {
		list = append(list, w)
	}
	ppp, _ := igd.NewWANPPPConnection1ClientsFromRootDevice(d.Root, d.Location)
	for _, w := range ppp {
		list = append(list, w)
	}
	return list
}

func upnpAsk(ctx context.Context, w wan, me string, port int) (m Mapping, err error) {
	ip, err := w.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return m, fmt.Errorf("asking the router's address by UPnP: %w", err)
	}
	external, err := netip.ParseAddr(ip)
	if err != nil {
		return m, fmt.Errorf("asking the router's address by UPnP: %w", err)
	}
	p := uint16(port)
	err = w.AddPortMappingCtx(ctx, "", p, "UDP", p, me, true, "chmail", uint32(lease/time.Second))
	if err != nil {
		return m, fmt.Errorf("the router refuses by UPnP: %w", err)
	}
	return Mapping{By: "UPnP", External: netip.AddrPortFrom(external, p), life: lease,
		remove: func(ctx context.Context) error { return w.DeletePortMappingCtx(ctx, "", p, "UDP") }}, nil
}

// toward is this computer's address on the way to the router.
func toward(router netip.Addr) string {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, pcpPort)))
	if err != nil {
		return ""
	}
	defer c.Close()
	return local(c).String()
}
