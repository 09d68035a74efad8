//! Package URLs (ECMA-427): one line that names a package in all ecosystems.
//!
//! In: a package or release. Out: its purl in the canonical form, so that equal packages have equal lines. Deliberately
//! only writes them.

use crate::digest::Digest;
use crate::manifest::{Os, Package};

/// The purl of a package of a distribution. Advisories of distributions speak of source packages, so `upstream` names
/// it even where it has the package's own name.
pub(super) fn package(manager: &str, os: &Os, package: &Package) -> String {
    let distro = match os.version.as_str() {
        "" => os.id.clone(),
        version => format!("{}-{version}", os.id),
    };
    let of_deb = manager == "dpkg";
    let kind = if of_deb { "deb" } else { "rpm" };
    // Only Debian's names are the same in upper and lower case; the epoch is a part of the version only there.
    let name = if of_deb {
        package.name.to_lowercase()
    } else {
        package.name.clone()
    };
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if !of_deb => (epoch, version),
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

/// The purl of an archive that no package manager knows.
pub(super) fn generic(name: &str, version: &str, archive: &Digest) -> String {
    let checksum = archive.to_string();
    assemble(
        "generic",
        &[&encoded(name)],
        version,
        &[("checksum", &checksum)],
    )
}

/// Qualifiers come sorted by key; those without a value are left out, as the standard wants it.
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

/// `text` with all but letters, digits, `.`, `-`, `_`, `~` and `:` as the hex digits of its bytes. The standard forbids
/// to encode the colon, of epochs and digests too.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
