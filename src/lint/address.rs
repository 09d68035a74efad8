//! Parses addresses as both products do: with or without a scheme, a port, brackets or a path.
//! Returns host, scheme, and from where the address can be reached. Names are not resolved.

use std::net::{IpAddr, Ipv6Addr};

use super::tree;

/// Returns host and port, without scheme, user, path and query.
pub(crate) fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    // Templates of go-sockaddr use these characters, and have neither path nor user.
    if rest.contains("{{") {
        return rest;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// Returns the host, without brackets and zone.
pub(crate) fn host(address: &str) -> &str {
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

/// Returns the scheme in lower case, as Go's `url.Parse` does.
pub(crate) fn scheme(address: &str) -> Option<String> {
    let (scheme, _) = address.trim().split_once("://")?;
    Some(scheme.to_ascii_lowercase())
}

/// Tells if the address has the scheme `expected`, in any case.
pub(crate) fn has_scheme(address: &str, expected: &str) -> bool {
    scheme(address).is_some_and(|scheme| scheme == expected)
}

/// Tells if the address is a Unix socket.
pub(crate) fn is_socket(address: &str) -> bool {
    has_scheme(address, "unix")
}

/// Tells if the address is `0.0.0.0` or `::`, in any spelling.
pub(crate) fn is_wildcard(address: &str) -> bool {
    let host = host(address);
    if host.is_empty() {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_unspecified() || maps_ipv4(address, 0, 0),
        Err(_) => numbers(host).is_some_and(|all| all.iter().all(|number| *number == 0)),
    }
}

/// Tells if only this machine can reach the address.
pub(crate) fn is_loopback(address: &str) -> bool {
    let host = host(address);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let named = ["localhost", "ip6-localhost", "localhost.localdomain"].contains(&name.as_str());
    let v6 = host.parse::<Ipv6Addr>();
    named
        || name.ends_with(".localhost")
        || tree::is_loopback(host)
        || v6.is_ok_and(|address| maps_ipv4(address, 127, u8::MAX))
        || numbers(host).is_some_and(|all| all.len() > 1 && all[0] == 127)
}

/// Tells if an IPv6 address maps an IPv4 address that begins with `first`. `rest` limits its other
/// bytes.
fn maps_ipv4(address: Ipv6Addr, first: u8, rest: u8) -> bool {
    let octets = address.to_ipv4_mapped().map(|address| address.octets());
    octets.is_some_and(|all| all[0] == first && all[1..].iter().all(|byte| *byte <= rest))
}

/// Returns the numbers of an IPv4 address as `inet_aton` reads it: one to four, decimal, octal or
/// hexadecimal.
fn numbers(host: &str) -> Option<Vec<u32>> {
    let number = |part: &str| match part.to_ascii_lowercase().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let all: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    (all.len() <= 4).then_some(all)
}

/// Tells if networks together cover all public addresses of IPv4 or of IPv6. An item may have
/// several networks, separated by commas.
pub(crate) fn cover_all_addresses(networks: &[&str]) -> bool {
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

/// Returns the first and last address of a network. `bits` is the length of an address.
fn range(address: u128, bits: u32, length: u32) -> (u128, u128) {
    let free = bits.saturating_sub(length);
    let low = 1_u128
        .checked_shl(free)
        .map_or(u128::MAX, |above| above - 1);
    (address & !low, address | low)
}

/// Tells if `ranges` cover all addresses from `first` to `last`.
fn cover(mut ranges: Vec<(u128, u128)>, first: u128, last: u128) -> bool {
    ranges.sort_unstable();
    let mut next = first;
    for (low, high) in ranges {
        if low <= next && high >= next {
            if high >= last {
                return true;
            }
            next = high + 1;
        }
    }
    false
}
