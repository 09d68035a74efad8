//! Reads the tables `machine`, `output`, `releases`, `release_source` and `lint`.
//! Returns typed values with defaults filled in. It is not checked that a release exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::base::no_file;
use super::document::{Item, Table};
use super::problem::{Location, Problem, quoted_list};
use super::variables::Variables;
use crate::http;
use crate::product::Product;
use crate::product::publisher::HASHICORP;

/// The shape of the build VM on QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Number of virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size of the disk in GiB.
    pub disk_gib: u32,
    /// Network access of the build VM.
    pub network: Network,
    /// Longest time until the build VM answers on SSH, in seconds.
    pub boot_timeout_s: u64,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: 2048,
            disk_gib: 4,
            network: Network::Outbound,
            boot_timeout_s: 300,
        }
    }
}

/// The network access of a build VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The networks of the host.
    Outbound,
    /// No network.
    None,
}

/// The format of the captured file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Compression of the qcow2 file's clusters.
    pub compression: Compression,
}

/// The compression of a qcow2 file's clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// zstd: small and fast.
    #[default]
    Zstd,
    /// zlib: for programs without support for zstd.
    Zlib,
    /// No compression: largest and fastest.
    None,
}

/// The mirror of releases, and the key that must sign them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseSource {
    /// Address of the mirror: `https://…`, `http://` to this host, `file:///…`, or a path from the
    /// definition's folder.
    pub mirror: String,
    /// Path of the signer's certificate, from the definition's folder. `None` downloads the
    /// official one.
    pub key_file: Option<PathBuf>,
    /// Primary fingerprint of the certificate: 40 upper-case hex digits.
    pub fingerprint: String,
}

impl Default for ReleaseSource {
    fn default() -> Self {
        Self {
            mirror: HASHICORP.base.to_owned(),
            key_file: None,
            fingerprint: HASHICORP.fingerprint.to_owned(),
        }
    }
}

/// Reads `[machine.qemu]`.
pub(super) fn machine(table: Option<Table>, variables: &Variables) -> MachineSpec {
    let mut machine = MachineSpec::default();
    let Some(mut table) = table else {
        return machine;
    };
    table.reject_unknown(&[
        "cpus",
        "memory_mib",
        "disk_gib",
        "network",
        "boot_timeout_s",
    ]);
    let number = |least, most| move |item| variables.integer(item, least, most);
    table.read_into("cpus", &mut machine.cpus, number(1, 64));
    table.read_into("memory_mib", &mut machine.memory_mib, number(512, 1 << 20));
    table.read_into("disk_gib", &mut machine.disk_gib, number(2, 2048));
    table.read_into("boot_timeout_s", &mut machine.boot_timeout_s, |item| {
        variables.integer(item, 10, 3600).map(u64::from)
    });
    let networks = [("outbound", Network::Outbound), ("none", Network::None)];
    table.read_into("network", &mut machine.network, |item| {
        choice(item, variables, &networks)
    });
    machine
}

/// Reads `[output.qemu]`.
pub(super) fn output(table: Option<Table>, variables: &Variables) -> OutputSpec {
    let mut output = OutputSpec::default();
    let Some(mut table) = table else {
        return output;
    };
    table.reject_unknown(&["compression"]);
    let known = [
        ("zstd", Compression::Zstd),
        ("zlib", Compression::Zlib),
        ("none", Compression::None),
    ];
    table.read_into("compression", &mut output.compression, |item| {
        choice(item, variables, &known)
    });
    output
}

/// Reads `[releases]`: the version of each product, and its location.
pub(super) fn releases(
    root: &mut Table,
    variables: &Variables,
) -> Result<BTreeMap<String, (String, Location)>, Problem> {
    let Some(mut table) = root.take_table("releases")? else {
        return Ok(BTreeMap::new());
    };
    table.reject_unknown(&Product::NAMES);
    let (at, found) = (table.at.clone(), table.found.clone());
    let release = |(product, item): (String, Item)| {
        let at = item.at.clone();
        let version = variables.text(item)?;
        if semver::Version::parse(&version).is_err() {
            return Err(at
                .problem(format!(
                    "`{version}` is no version; expected MAJOR.MINOR.PATCH"
                ))
                .with_hint("Write one exact version, as in \"1.21.1\"."));
        }
        Ok((product, (version, at)))
    };
    let releases = found.all_or_record(&at, table.items().into_iter().map(release))?;
    Ok(releases.into_iter().collect())
}

/// Reads `[lint]`: the allowed lint rules with their reasons. The linter checks that the rules
/// exist.
pub(super) fn allowed(
    root: &mut Table,
    variables: &Variables,
) -> Result<BTreeMap<String, String>, Problem> {
    let Some(mut lint) = root.take_table("lint")? else {
        return Ok(BTreeMap::new());
    };
    lint.reject_unknown(&["allow"]);
    let allow = lint.take_table("allow")?;
    let read_entry = |(rule, item): (String, Item)| {
        let at = item.at.clone();
        let reason = variables.text(item)?;
        if reason.trim().is_empty() {
            return Err(at.problem("empty; expected the reason for allowing this"));
        }
        Ok((rule, reason))
    };
    let items = allow.map(Table::items).unwrap_or_default();
    let allowed = lint
        .found
        .all_or_record(&lint.at, items.into_iter().map(read_entry))?;
    Ok(allowed.into_iter().collect())
}

/// Reads `[release_source]`.
pub(super) fn release_source(
    root: &mut Table,
    variables: &Variables,
    folder: &Path,
) -> Result<ReleaseSource, Problem> {
    let mut source = ReleaseSource::default();
    let Some(mut table) = root.take_table("release_source")? else {
        return Ok(source);
    };
    table.reject_unknown(&["mirror", "key_file", "fingerprint"]);
    table.read_into("mirror", &mut source.mirror, |item| {
        let at = item.at.clone();
        let mirror = variables.text(item)?.trim_end_matches('/').to_owned();
        release_mirror(&at, &mirror, folder)?;
        Ok(mirror)
    });
    table.read_into("key_file", &mut source.key_file, |item| {
        let at = item.at.clone();
        let path = PathBuf::from(variables.text(item)?);
        if folder.join(&path).is_file() {
            Ok(Some(path))
        } else {
            Err(no_file(&at, folder, &path))
        }
    });
    table.read_into("fingerprint", &mut source.fingerprint, |item| {
        let at = item.at.clone();
        fingerprint(&variables.text(item)?).map_err(|message| {
            at.problem(message)
                .with_hint("Print it with `gpg --show-keys --with-fingerprint KEYFILE`.")
        })
    });
    Ok(source)
}

fn release_mirror(at: &Location, mirror: &str, folder: &Path) -> Result<(), Problem> {
    match http::local_path(mirror) {
        Some(path) if folder.join(&path).is_dir() => Ok(()),
        Some(path) => Err(at
            .problem(format!(
                "no such folder: {}; expected one",
                folder.join(path).display()
            ))
            .with_hint(
                "Name a folder, relative to the definition's folder, or a server with `https://`.",
            )),
        None if mirror.starts_with("https://") || is_http_to_this_host(mirror) => Ok(()),
        None => Err(at
            .problem(format!(
                "`{mirror}`; expected `https://…`, `http://` to this host, `file:///…` or a path"
            ))
            .with_hint("Use https://: plain http would reveal which releases you download.")),
    }
}

/// Tells if `url` is plain HTTP to this host.
fn is_http_to_this_host(url: &str) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        url.strip_prefix("http://")
            .and_then(|rest| rest.strip_prefix(host))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

/// Parses an OpenPGP fingerprint, with or without blanks, colons and `0x`, into 40 upper-case hex
/// digits. An error is the description of the defect.
pub fn fingerprint(text: &str) -> Result<String, String> {
    let bare: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, ':' | '\u{200b}' | '\u{feff}'))
        .collect();
    let digits = bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X"));
    let digits = digits.unwrap_or(&bare);
    let count = digits.chars().count();
    let refused = |reason: &str| {
        Err(format!(
            "`{text}` is no OpenPGP fingerprint; expected 40 hex digits, {reason}"
        ))
    };
    match digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        Some(character) => refused(&format!("found `{character}`")),
        None if count == 40 => Ok(digits.to_ascii_uppercase()),
        None if matches!(count, 8 | 16) => refused(&format!(
            "found the {count} of a key id, which is not unique"
        )),
        None => refused(&format!("found {count}")),
    }
}

/// The tables of a section by builder.
#[derive(Default)]
pub(super) struct PerBuilder {
    /// `[NAME.qemu]`.
    pub qemu: Option<Table>,
    /// `[NAME.azure]`.
    pub azure: Option<Table>,
}

impl PerBuilder {
    /// Removes `[NAME.qemu]` and `[NAME.azure]` from `root`.
    pub(super) fn take_from(root: &mut Table, name: &str) -> Result<Self, Problem> {
        match root.take_table(name)? {
            Some(table) => Self::from_table(table),
            None => Ok(Self::default()),
        }
    }

    /// Reads the tables of a section that was removed from the root.
    pub(super) fn from_table(mut table: Table) -> Result<Self, Problem> {
        table.reject_unknown(&["qemu", "azure"]);
        let found = table.found.clone();
        let mut builder_table = |name: &str| found.ok_or_record(table.take_table(name)).flatten();
        Ok(Self {
            qemu: builder_table("qemu"),
            azure: builder_table("azure"),
        })
    }
}

pub(super) fn choice<T: Copy>(
    item: Item,
    variables: &Variables,
    known: &[(&str, T)],
) -> Result<T, Problem> {
    let at = item.at.clone();
    let given = variables.text(item)?;
    let names = || known.iter().map(|(name, _)| *name);
    known
        .iter()
        .find(|(name, _)| *name == given)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            at.problem(format!(
                "`{given}` is not known; expected one of {}",
                quoted_list(names())
            ))
            .with_suggestion(&given, names(), "For the default, remove it.")
        })
}
