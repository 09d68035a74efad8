//! The private network of a cluster, and the address of each node in it.
//! Addresses depend on the network and the node's number only.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Prefix lengths of a cluster's network.
const PREFIXES: std::ops::RangeInclusive<u32> = 24..=28;

/// A private IPv4 network with 16 to 256 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u32,
}

/// The text is not the network of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no network of a cluster: {reason}")]
pub struct InvalidSubnet {
    text: String,
    reason: String,
    hint: String,
}

impl InvalidSubnet {
    /// Returns the way out as an imperative.
    pub fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidSubnet;

    fn try_from(text: String) -> Result<Self, InvalidSubnet> {
        text.parse()
    }
}

/// The addresses of one tier: offsets from the network.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    before: u32,
    pub(super) count: u32,
}

impl Slots {
    fn address(self, subnet: Subnet, number: u32) -> Ipv4Addr {
        assert!(
            (1..=self.count).contains(&number),
            "{subnet} has no address for node {number}"
        );
        Ipv4Addr::from(u32::from(subnet.network) + self.before + number)
    }
}

impl Subnet {
    /// Returns the first address, which is that of the gateway.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    /// Returns the network's own address.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// Returns the number of bits that all addresses share.
    pub fn prefix(self) -> u32 {
        self.prefix
    }

    /// Returns whether the networks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shared = self.prefix.min(other.prefix);
        mask(self.network, shared) == mask(other.network, shared)
    }

    /// Returns the network `number` of 256 for development: `10.77.number.0/24`.
    pub fn development(number: u8) -> Self {
        Self {
            network: Ipv4Addr::new(10, 77, number, 0),
            prefix: 24,
        }
    }

    /// Returns the offsets of Consul nodes. Azure reserves the first four addresses.
    pub(super) fn consul(self) -> Slots {
        match self.prefix {
            27 => Slots {
                before: 3,
                count: 8,
            },
            28 => Slots {
                before: 3,
                count: 5,
            },
            _ => Slots {
                before: 10,
                count: 20,
            },
        }
    }

    /// Returns the offsets of Vault nodes, which follow those of Consul nodes.
    pub(super) fn vault(self) -> Slots {
        let Slots { before, count } = self.consul();
        let before = before + count;
        // The last address is for broadcasts.
        let count = (1 << (32 - self.prefix)) - 2 - before;
        Slots { before, count }
    }

    /// Returns the address of Consul node `number`.
    pub(super) fn consul_address(self, number: u32) -> Ipv4Addr {
        self.consul().address(self, number)
    }

    /// Returns the address of Vault node `number`.
    pub(super) fn vault_address(self, number: u32) -> Ipv4Addr {
        self.vault().address(self, number)
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = |reason: &str, hint: String| InvalidSubnet {
            text: text.to_owned(),
            reason: reason.to_owned(),
            hint,
        };
        let example = || "Write it as in `10.77.0.0/24`.".to_owned();
        let parts = text.split_once('/').and_then(|(network, prefix)| {
            // `+24` and `024` are numbers for Rust, but not for other readers of the file.
            let is_plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = Some(prefix).filter(|prefix| is_plain && !prefix.starts_with('0'));
            Some((network.parse::<Ipv4Addr>().ok()?, prefix?.parse().ok()?))
        });
        let Some((network, prefix)) = parts else {
            return Err(invalid("expected an IPv4 address and a prefix", example()));
        };
        if !PREFIXES.contains(&prefix) {
            let reason = format!("its prefix is /{prefix}; expected /24 to /28");
            return Err(invalid(&reason, example()));
        }
        if !network.is_private() {
            let reason = "its addresses are not private; expected a part of 10.0.0.0/8, \
                          172.16.0.0/12 or 192.168.0.0/16";
            return Err(invalid(reason, example()));
        }
        let subnet = Self {
            network: mask(network, prefix),
            prefix,
        };
        if subnet.network != network {
            let reason = "its address is inside a network; expected its first address";
            return Err(invalid(reason, format!("Write `{subnet}`.")));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Returns the first `bits` of an address, of 1 to 32, and zeros.
fn mask(address: Ipv4Addr, bits: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) & (u32::MAX << (32 - bits)))
}
