//! Writes package URLs (ECMA-427) in their canonical form, so that equal packages have equal purls.

use crate::digest::Digest;
use crate::manifest::{Os, Package};

/// Returns the purl of a distribution package. `upstream` is always present, since advisories refer
/// to source packages.
pub(super) fn package(manager: &str, os: &Os, package: &Package) -> String {
    let distro = match os.version.as_str() {
        "" => os.id.clone(),
        version => format!("{}-{version}", os.id),
    };
    let is_deb = manager == "dpkg";
    let kind = if is_deb { "deb" } else { "rpm" };
    // Only the names of Debian packages are case-insensitive. Only there the epoch is a part of the
    // version.
    let name = if is_deb {
        package.name.to_lowercase()
    } else {
        package.name.clone()
    };
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if !is_deb => (epoch, version),
        _ => ("", package.version.as_str()),
    };
    let qualifiers = [
        ("arch", package.arch.as_str()),
        ("distro", &distro),
        ("epoch", epoch),
        ("upstream", &package.source),
    ];
    let namespace = encoded(&os.id.to_lowercase());
    assemble(kind, &[&namespace, &encoded(&name)], version, &qualifiers)
}

/// Returns the purl of an archive that belongs to no package manager.
pub(super) fn generic(name: &str, version: &str, archive: &Digest) -> String {
    let checksum = archive.to_string();
    assemble(
        "generic",
        &[&encoded(name)],
        version,
        &[("checksum", &checksum)],
    )
}

/// Joins the parts of a purl. Qualifiers must be sorted by key; those without a value are omitted.
fn assemble(kind: &str, path: &[&str], version: &str, qualifiers: &[(&str, &str)]) -> String {
    let present = qualifiers.iter().filter(|(_, value)| !value.is_empty());
    let qualifiers: Vec<String> = present
        .map(|(key, value)| format!("{key}={}", encoded(value)))
        .collect();
    let path: Vec<&str> = path
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    let after = |mark: &str, text: String| match text.as_str() {
        "" => text,
        text => format!("{mark}{text}"),
    };
    let version = after("@", encoded(version));
    let qualifiers = after("?", qualifiers.join("&"));
    format!("pkg:{kind}/{}{version}{qualifiers}", path.join("/"))
}

/// Percent-encodes all bytes except letters, digits, `.`, `-`, `_`, `~` and `:`. The standard
/// forbids encoding colons.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
