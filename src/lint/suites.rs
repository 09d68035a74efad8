//! Cipher suites of TLS up to 1.2.

/// A suite that should not be there.
pub(super) fn weak_suite(suites: &[&str]) -> Option<String> {
    let mut names = suites.iter().flat_map(|suites| suites.split(','));
    let weak = |name: &&str| {
        let forward = name.starts_with("TLS_ECDHE_")
            || name.starts_with("TLS_AES_")
            || name.starts_with("TLS_CHACHA20_");
        let bad = ["_CBC_", "RC4", "3DES", "NULL", "EXPORT"]
            .iter()
            .any(|part| name.contains(part));
        !name.is_empty() && (!forward || bad)
    };
    names
        .find(|name| weak(&name.trim()))
        .map(|name| name.trim().to_owned())
}
