//! Addresses as both products take them: with or without a scheme, a port, brackets or a path.
//!
//! In: the text of a key. Out: its host, its port, and from where it can be reached. Names are not resolved.

use std::net::{IpAddr, Ipv6Addr};

use super::tree;

/// Host and port, without scheme, user, path and query.
pub(super) fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    // Templates of go-sockaddr have characters of their own, and neither path nor user.
    if rest.contains("{{") {
        return rest;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// The host alone, without brackets and zone.
pub(super) fn host(address: &str) -> &str {
    let authority = authority(address.trim());
    let bracketed = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let host = match bracketed {
        Some((host, _)) => host,
        None if authority.matches(':').count() == 1 => {
            authority.split(':').next().unwrap_or_default()
        }
        None => authority,
    };
    host.split('%').next().unwrap_or(host)
}

/// The scheme in lower case, as Go's `url.Parse` has it.
pub(super) fn scheme(address: &str) -> Option<String> {
    let (scheme, _) = address.trim().split_once("://")?;
    Some(scheme.to_ascii_lowercase())
}

/// Whether the address has this scheme, whatever its case.
pub(super) fn has_scheme(address: &str, wanted: &str) -> bool {
    scheme(address).is_some_and(|scheme| scheme == wanted)
}

/// Whether the address is a socket of this machine.
pub(super) fn is_socket(address: &str) -> bool {
    has_scheme(address, "unix")
}

/// Whether the address means every address of the machine: `0.0.0.0` and `::` in all their spellings.
pub(super) fn is_wildcard(address: &str) -> bool {
    let host = host(address);
    if host.is_empty() {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_unspecified() || mapped(address, 0, 0),
        Err(_) => numbers(host).is_some_and(|all| all.iter().all(|number| *number == 0)),
    }
}

/// Whether only this machine can reach the address.
pub(super) fn is_loopback(address: &str) -> bool {
    let host = host(address);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let named = ["localhost", "ip6-localhost", "localhost.localdomain"].contains(&name.as_str());
    let v6 = host.parse::<Ipv6Addr>();
    named
        || name.ends_with(".localhost")
        || tree::is_loopback(host)
        || v6.is_ok_and(|address| mapped(address, 127, u8::MAX))
        || numbers(host).is_some_and(|all| all.len() > 1 && all[0] == 127)
}

/// Whether an IPv6 address stands for an IPv4 address that begins with `first`; `rest` bounds its other bytes.
fn mapped(address: Ipv6Addr, first: u8, rest: u8) -> bool {
    let octets = address.to_ipv4_mapped().map(|address| address.octets());
    octets.is_some_and(|all| all[0] == first && all[1..].iter().all(|byte| *byte <= rest))
}

/// The numbers of an IPv4 address as `inet_aton` reads it: one to four, decimal, octal or hexadecimal.
fn numbers(host: &str) -> Option<Vec<u32>> {
    let number = |part: &str| match part.to_ascii_lowercase().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let all: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    (all.len() <= 4).then_some(all)
}

/// Whether networks, taken together, have every public address of IPv4 or of IPv6 in them. An element may have several.
pub(super) fn are_everything(networks: &[&str]) -> bool {
    let all = networks.iter().flat_map(|one| one.split(','));
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in all.map(|one| one.trim_matches(['[', ']', '"', ' '])) {
        let (address, length) = match network.split_once('/') {
            Some((address, length)) => (address, length.parse().ok()),
            None => (network, Some(u32::from(u8::MAX))),
        };
        match (address.parse::<IpAddr>(), length) {
            (Ok(IpAddr::V4(address)), Some(length)) => {
                v4.push(range(address.to_bits().into(), 32, length));
            }
            (Ok(IpAddr::V6(address)), Some(length)) => {
                v6.push(range(address.to_bits(), 128, length));
            }
            _ => {}
        }
    }
    // From 1.0.0.0 to 223.255.255.255, and 2000::/3.
    cover(v4, 0x0100_0000, 0xdfff_ffff) || cover(v6, 0x2 << 124, (0x4 << 124) - 1)
}

/// The first and the last address of a network; `bits` is the length of an address.
fn range(address: u128, bits: u32, length: u32) -> (u128, u128) {
    let free = bits.saturating_sub(length);
    let low = 1_u128
        .checked_shl(free)
        .map_or(u128::MAX, |above| above - 1);
    (address & !low, address | low)
}

/// Whether `ranges` leave no gap between `first` and `last`.
fn cover(mut ranges: Vec<(u128, u128)>, first: u128, last: u128) -> bool {
    ranges.sort_unstable();
    let mut open = first;
    for (low, high) in ranges {
        if low <= open && high >= open {
            if high >= last {
                return true;
            }
            open = high + 1;
        }
    }
    false
}
