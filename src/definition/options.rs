//! Reads the tables `releases`, `release_source` and `lint`, and divides those of platforms.
//! Returns typed values with defaults filled in. It is not checked that a release exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::{Item, Table};
use super::files::no_file;
use super::problem::{Location, Problem, quoted_list};
use super::variables::Variables;
use crate::http;
use crate::product::Product;
use crate::product::publisher::HASHICORP;

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

/// The tables of a section by platform.
#[derive(Default)]
pub(super) struct PerPlatform(BTreeMap<&'static str, Table>);

impl PerPlatform {
    /// Removes `[SECTION.NAME]` of each platform from `root`.
    pub(super) fn take_from(
        root: &mut Table,
        section: &str,
        names: &[&'static str],
    ) -> Result<Self, Problem> {
        match root.take_table(section)? {
            Some(table) => Self::from_table(table, names),
            None => Ok(Self::default()),
        }
    }

    /// Reads the tables of a section that was removed from the root.
    pub(super) fn from_table(mut table: Table, names: &[&'static str]) -> Result<Self, Problem> {
        table.reject_unknown(names);
        let found = table.found.clone();
        let tables = names.iter().filter_map(|name| {
            let table = found.ok_or_record(table.take_table(name)).flatten()?;
            Some((*name, table))
        });
        Ok(Self(tables.collect()))
    }

    /// Tells if no platform has a table.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the table of a platform.
    pub(super) fn take(&mut self, name: &str) -> Option<Table> {
        self.0.remove(name)
    }
}

/// Reads one of the texts `known`, and returns its value.
pub(crate) fn choice<T: Copy>(
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
