//! Parses the subnets that may reach a port of a node, such as `10.0.9.0/28`.
//! Takes text and returns a [`Subnet`], or a description of valid values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The shortest prefix of an IPv4 subnet, in bits: that of the largest private network.
const SHORTEST_V4: u8 = 8;

/// The shortest prefix of an IPv6 subnet, in bits.
const SHORTEST_V6: u8 = 16;

/// A subnet of other machines, as nft prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::product) struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Parses a subnet. The error describes valid values.
    pub(in crate::product) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let subnet = Self {
                address: address.parse().ok()?,
                prefix: prefix.parse().ok()?,
            };
            (subnet.prefix <= subnet.bits()).then_some(subnet)
        });
        let subnet = parts.ok_or("a subnet such as `10.0.9.0/28` or `fd00:9::/64`")?;
        let (shortest, kind) = match subnet.address {
            IpAddr::V4(_) => (SHORTEST_V4, "IPv4"),
            IpAddr::V6(_) => (SHORTEST_V6, "IPv6"),
        };
        if subnet.prefix < shortest {
            return Err(format!("a prefix of {shortest} bits or more for {kind}"));
        }
        let canonical = subnet.canonical();
        if canonical.to_string() != text {
            return Err(format!("`{canonical}`"));
        }
        if !canonical.has_other_machines() {
            return Err("a subnet of other machines".to_owned());
        }
        Ok(canonical)
    }

    /// Returns whether an address is in this subnet.
    pub(in crate::product) fn contains(self, address: IpAddr) -> bool {
        let other = Self { address, ..self };
        address.is_ipv4() == self.address.is_ipv4() && other.canonical() == self.canonical()
    }

    /// Returns the length of an address, in bits.
    fn bits(self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// Returns the subnet without the bits after its prefix.
    fn canonical(self) -> Self {
        let free = u32::from(self.bits() - self.prefix);
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(free).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(free).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, ..self }
    }

    /// Tells if packets of other machines can come from this subnet.
    fn has_other_machines(self) -> bool {
        match self.address {
            // 0.0.0.0/8 is this machine, and addresses from 224.0.0.0 on are groups.
            IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
            // The first 16 bits of `::`, `::1` and mapped IPv4 addresses are 0.
            IpAddr::V6(address) => address.segments()[0] != 0 && !address.is_multicast(),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}
