package deliver

import (
	"net/netip"
	"testing"
)

func TestGloballyReachable(t *testing.T) {
	for _, tc := range []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true},
		{"8.8.8.8", true},
		{"9.255.255.255", true},
		{"11.0.0.0", true},
		{"100.63.255.255", true},
		{"100.128.0.0", true},
		{"126.255.255.255", true},
		{"128.0.0.0", true},
		{"169.253.255.255", true},
		{"172.15.255.255", true},
		{"172.32.0.0", true},
		{"192.0.0.9", true},
		{"192.0.0.10", true},
		{"192.0.1.0", true},
		{"192.31.196.1", true}, // AS112
		{"192.52.193.1", true}, // AMT
		{"192.167.255.255", true},
		{"192.175.48.1", true}, // AS112
		{"198.17.255.255", true},
		{"198.20.0.0", true},
		{"223.255.255.255", true},

		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.0.0.1", false},
		{"10.255.255.255", false},
		{"100.64.0.0", false},
		{"100.100.100.200", false}, // a cloud's metadata
		{"100.127.255.255", false},
		{"127.0.0.1", false},
		{"127.255.255.255", false},
		{"169.254.0.1", false},
		{"169.254.169.254", false}, // metadata of most clouds
		{"172.16.0.0", false},
		{"172.31.255.255", false},
		{"192.0.0.0", false},
		{"192.0.0.8", false},
		{"192.0.0.11", false},
		{"192.0.0.170", false},
		{"192.0.0.192", false}, // a cloud's metadata
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"192.168.0.1", false},
		{"192.168.255.255", false},
		{"198.18.0.1", false},
		{"198.19.255.255", false},
		{"198.51.100.1", false},
		{"203.0.113.1", false},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},

		{"2000::1", true},
		{"2001:200::1", true},
		{"2001:4860:4860::8888", true},
		{"2600::1", true},
		{"2606:4700:4700::1111", true},
		{"2620:4f:8000::1", true}, // AS112
		{"2001:1::1", true},
		{"2001:1::2", true},
		{"2001:1::3", true},
		{"2001:3::1", true},
		{"2001:4:112::1", true},
		{"2001:20::1", true},
		{"2001:30::1", true},
		{"2001:db7::1", true},
		{"2001:db9::1", true},
		{"2003::1", true},
		{"3ffe::1", true},
		{"3fff:1000::1", true},

		{"::", false},
		{"::1", false},
		{"::8.8.8.8", false},            // IPv4-compatible
		{"::ffff:8.8.8.8", false},       // IPv4-mapped
		{"::ffff:127.0.0.1", false},     //
		{"::ffff:0:8.8.8.8", false},     // IPv4-translated
		{"64:ff9b::8.8.8.8", true},      // NAT64 leads where the IPv4 address does
		{"64:ff9b::127.0.0.1", false},   //
		{"64:ff9b::10.0.0.1", false},    //
		{"64:ff9b::a9fe:a9fe", false},   // 169.254.169.254
		{"64:ff9b::1:8.8.8.8", false},   // outside the /96
		{"64:ff9b:1::8.8.8.8", false},   // local-use NAT64
		{"100::1", false},               // discard
		{"100:0:0:1::1", false},         // dummy
		{"1fff::1", false},              //
		{"2001::1", false},              // Teredo
		{"2001:0:4136:e378::1", false},  //
		{"2001:1::4", false},            //
		{"2001:2::1", false},            // benchmarking
		{"2001:4:113::1", false},        //
		{"2001:5::1", false},            //
		{"2001:10::1", false},           // ORCHID
		{"2001:40::1", false},           //
		{"2001:1ff:ffff::1", false},     //
		{"2001:db8::1", false},          // documentation
		{"2002:7f00:1::1", false},       // 6to4 of 127.0.0.1
		{"2002:808:808::1", false},      // 6to4 of 8.8.8.8
		{"3fff::1", false},              // documentation
		{"3fff:fff:ffff::1", false},     //
		{"4000::1", false},              //
		{"5f00::1", false},              // SRv6
		{"fc00::1", false},              // ULA
		{"fd00:ec2::254", false},        // a cloud's metadata
		{"fe80::1", false},              // link-local
		{"fe80::1%eth0", false},         //
		{"2606:4700::1111%eth0", false}, // a zone has no business on the internet
		{"fec0::1", false},              // site-local
		{"ff02::1", false},              // multicast
		{"ff0e::1", false},              //
	} {
		if got := globallyReachable(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("globallyReachable(%s) = %t, want %t", tc.addr, got, tc.want)
		}
	}
	if globallyReachable(netip.Addr{}) {
		t.Error("the zero address is reachable")
	}
}

func FuzzGloballyReachable(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add(netip.MustParseAddr("::1").AsSlice())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || !globallyReachable(a) {
			return
		}
		// What the standard library knows of addresses must agree.
		if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6() {
			t.Errorf("%s is reachable", a)
		}
	})
}
