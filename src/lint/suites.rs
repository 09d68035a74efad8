//! Rates cipher suites of TLS up to 1.2.

/// Returns the first weak suite.
pub(crate) fn weak_suite(suites: &[&str]) -> Option<String> {
    let mut names = suites.iter().flat_map(|suites| suites.split(','));
    let is_weak = |name: &&str| {
        let forward_secret = name.starts_with("TLS_ECDHE_")
            || name.starts_with("TLS_AES_")
            || name.starts_with("TLS_CHACHA20_");
        let broken = ["_CBC_", "RC4", "3DES", "NULL", "EXPORT"]
            .iter()
            .any(|part| name.contains(part));
        !name.is_empty() && (!forward_secret || broken)
    };
    names
        .find(|name| is_weak(&name.trim()))
        .map(|name| name.trim().to_owned())
}
