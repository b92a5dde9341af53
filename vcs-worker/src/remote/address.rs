//! What an address is good for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Anybody's.
    Public,
    /// Of this machine or this network.
    Private,
    /// Of no repository, whatever is configured.
    Never,
}

/// What `address` is. An IPv4 address that is wrapped in an IPv6 one is judged as what it is.
pub(super) fn kind_of(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // This network, link-local with the clouds' metadata, protocol assignments, multicast, reserved and broadcast;
        // and one provider's metadata within an otherwise private range.
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, _] | [100, 100, 100, 200] => Kind::Never,
        [10 | 127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [198, 18 | 19, ..]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Kind {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Private,
        // Mapped, translated and tunnelled IPv4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => kind_of_v4(v4(high, low)),
        // `::` and the old compatible form, other translations and tunnels, discard, link-local, multicast, and the metadata
        // address within the private range.
        [0, 0, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, ..]
        | [0x2001, 0, ..]
        | [0x100 | 0xfe80..=0xfebf | 0xff00..=0xffff, ..]
        | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Kind::Never,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x2001, 0xdb8, ..] => Kind::Private,
        _ => Kind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 24.
    #[test]
    fn link_local_and_metadata_addresses_are_never_used_in_any_spelling() {
        for text in [
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ] {
            assert_eq!(kind_of(text.parse().expect("an address")), Kind::Never, "{text}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_any_spelling() {
        for text in
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
        {
            assert_eq!(kind_of(text.parse().expect("an address")), Kind::Private, "{text}");
        }
        for text in ["93.184.216.34", "172.32.0.1", "2606:2800:220:1::1", "::ffff:93.184.216.34"] {
            assert_eq!(kind_of(text.parse().expect("an address")), Kind::Public, "{text}");
        }
    }
}
