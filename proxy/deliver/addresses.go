package deliver

import (
	"net/netip"
	"slices"
)

// globallyReachable reports whether a is a unicast address that hosts anywhere
// on the internet can reach, by IANA's special-purpose address registries
// (RFC 6890) as of 2025. What the registries leave open is not reachable.
//
// An address of the well-known NAT64 prefix is as reachable as the IPv4
// address inside it. All other forms that carry an IPv4 address (mapped,
// compatible, 6to4, Teredo, local-use NAT64) are not reachable, whatever they
// carry, and neither is an address with a zone.
func globallyReachable(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	// No loopback, private network, link-local address (the metadata services of clouds) or multicast.
	if a.Is6() && !globalUnicast6.Contains(a) || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(reachableWithin, in) || !slices.ContainsFunc(unreachable, in)
}

var (
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
	// All that IANA hands out to the internet. Outside are loopback, mapped
	// IPv4, 64:ff9b:1::/48, 100::/64, 5f00::/16, fc00::/7, fe80::/10,
	// fec0::/10, ff00::/8 and what may come.
	globalUnicast6 = netip.MustParsePrefix("2000::/3")

	// Exceptions to the blocks below that contain them.
	reachableWithin = prefixes(
		"192.0.0.9/32",    // Port Control Protocol anycast
		"192.0.0.10/32",   // TURN anycast
		"2001:1::1/128",   // Port Control Protocol anycast
		"2001:1::2/128",   // TURN anycast
		"2001:1::3/128",   // DNS-SD registration anycast
		"2001:3::/32",     // AMT
		"2001:4:112::/48", // AS112
		"2001:20::/28",    // ORCHIDv2
		"2001:30::/28",    // drone remote identification
	)
	unreachable = prefixes(
		"0.0.0.0/8",       // this network
		"100.64.0.0/10",   // carrier-grade NAT
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays, deprecated
		"198.18.0.0/15",   // benchmarking
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"240.0.0.0/4",     // reserved, and broadcast
		"2001::/23",       // protocol assignments: Teredo, benchmarking, ORCHID
		"2001:db8::/32",   // documentation
		"2002::/16",       // 6to4
		"3fff::/20",       // documentation
	)
)

func prefixes(texts ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		ps[i] = netip.MustParsePrefix(t)
	}
	return ps
}
