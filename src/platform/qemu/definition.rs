//! Reads `[base.qemu]`, `[machine.qemu]` and `[output.qemu]`.
//! The definition's folder is read; the network is not used.

mod machine;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::definition::document::{Item, Table};
use crate::definition::files::no_file;
use crate::definition::platform::{Firmware, Parts, Reading, Tables};
use crate::definition::variables::Variables;
use crate::definition::{Location, Problem, quoted_list};
use crate::http;

pub use machine::{Compression, MachineSpec, Network, OutputSpec};

/// Reads the tables. A machine and an output without a base are checked, and not used.
pub(super) fn read(tables: Tables, reading: &Reading<'_>) -> Result<Option<Parts>, Problem> {
    let machine = machine::read(tables.machine, reading.variables);
    let output = machine::output(tables.output, reading.variables);
    let Some(base) = tables.base else {
        return Ok(None);
    };
    let base = read_base(base, reading.variables, reading.folder)?;
    Ok(Some(Parts {
        base: json!(base),
        machine: json!(machine),
        output: json!(output),
    }))
}

/// The disk that a QEMU build starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum QemuBase {
    /// A disk made from the distribution's signed packages. It boots by BIOS and by UEFI.
    Packages {
        /// Package mirror, as in `http://deb.debian.org/debian`.
        mirror: String,
        /// Suite, as in `trixie`.
        suite: String,
        /// Further suites, each as `mirror suite`, as in
        /// `http://deb.debian.org/debian-security trixie-security`.
        extra: Vec<String>,
        /// Packages in addition to those of every base.
        packages: Vec<String>,
        /// Firmware of the build VM.
        firmware: Firmware,
    },
    /// A cloud image of the distribution.
    CloudImage {
        /// Address of the image: `https://…`, `file://…`, or a path from the definition's folder.
        url: String,
        /// Digest of the image, 128 hex digits.
        sha512: String,
        /// Firmware of the build VM.
        firmware: Firmware,
    },
}

impl QemuBase {
    /// Returns the mirror and name of each suite, the main one first. A cloud image has no suites.
    pub fn suites(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Packages {
                mirror,
                suite,
                extra,
                ..
            } => std::iter::once((mirror.as_str(), suite.as_str()))
                .chain(extra.iter().filter_map(|line| line.split_once(' ')))
                .collect(),
            Self::CloudImage { .. } => Vec::new(),
        }
    }
}

/// Reads `[base.qemu]`.
fn read_base(mut table: Table, variables: &Variables, folder: &Path) -> Result<QemuBase, Problem> {
    let kind = table.require("kind", "`packages` or `cloud-image`")?;
    let at = kind.at.clone();
    match variables.text(kind)?.as_str() {
        "packages" => packages(table, variables),
        "cloud-image" => cloud_image(table, variables, folder),
        kind => Err(at
            .problem(format!(
                "`{kind}` is no kind of base; expected one of {}",
                quoted_list(["packages", "cloud-image"])
            ))
            .with_suggestion(
                kind,
                ["packages", "cloud-image"],
                "To build from the distribution's packages, write `packages`.",
            )),
    }
}

fn packages(mut table: Table, variables: &Variables) -> Result<QemuBase, Problem> {
    table.reject_unknown(&["kind", "mirror", "suite", "extra", "packages", "firmware"]);
    let mut mirror = String::from(DEFAULT_MIRROR);
    table.read_into("mirror", &mut mirror, |item| {
        let at = item.at.clone();
        let mirror = variables.text(item)?;
        mirror_url(&at, &mirror)?;
        Ok(mirror.trim_end_matches('/').to_owned())
    });
    let mut suite = String::from(DEFAULT_SUITE);
    table.read_into("suite", &mut suite, |item| {
        let at = item.at.clone();
        let suite = variables.text(item)?;
        suite_name(&at, &suite)?;
        Ok(suite)
    });
    let mut extra = updates(&mirror, &suite);
    let found = table.found.clone();
    table.read_into("extra", &mut extra, |item| {
        let at = item.at.clone();
        let lines = variables.texts(item)?.into_iter();
        found.all_or_record(&at, lines.map(|(at, line)| extra_line(&at, &line)))
    });
    let mut packages = Vec::new();
    table.read_into("packages", &mut packages, |item| {
        let at = item.at.clone();
        let names = variables.texts(item)?.into_iter();
        found.all_or_record(
            &at,
            names.map(|(at, name)| package_name(&at, &name).map(|()| name)),
        )
    });
    Ok(QemuBase::Packages {
        mirror,
        suite,
        extra,
        packages,
        firmware: firmware(&mut table, variables),
    })
}

fn cloud_image(
    mut table: Table,
    variables: &Variables,
    folder: &Path,
) -> Result<QemuBase, Problem> {
    table.reject_unknown(&["kind", "url", "sha512", "firmware"]);
    let at = table.at.clone();
    let url = table.required("url", "`https://…` or a path", |item| {
        image_url(item, variables, folder)
    });
    let sha512 = table.required("sha512", "128 hex digits", |item| sha512(item, variables));
    let firmware = firmware(&mut table, variables);
    let (url, sha512) = url.zip(sha512).ok_or_else(|| at.already_reported())?;
    Ok(QemuBase::CloudImage {
        url,
        sha512,
        firmware,
    })
}

fn image_url(item: Item, variables: &Variables, folder: &Path) -> Result<String, Problem> {
    let at = item.at.clone();
    let url = variables.text(item)?;
    match http::local_path(&url) {
        Some(path) if !folder.join(&path).is_file() => Err(no_file(&at, folder, &path)),
        None if !url.starts_with("https://") => Err(at
            .problem(format!(
                "`{url}`; expected `https://…`, `file:///…` or a path"
            ))
            .with_hint("Use https://, or download the image and name its path.")),
        Some(_) | None => Ok(url),
    }
}

fn sha512(item: Item, variables: &Variables) -> Result<String, Problem> {
    let at = item.at.clone();
    let sha512 = variables.text(item)?.to_ascii_lowercase();
    if sha512.len() == 128 && sha512.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(sha512);
    }
    Err(at
        .problem(format!(
            "not a SHA-512; expected 128 hex digits, found {} characters",
            sha512.chars().count()
        ))
        .with_hint(
            "Copy it from the distribution's SHA512SUMS, and verify the signature of that file.",
        ))
}

fn firmware(table: &mut Table, variables: &Variables) -> Firmware {
    let mut firmware = Firmware::Bios;
    let known = [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];
    table.read_into("firmware", &mut firmware, |item| {
        let at = item.at.clone();
        let given = variables.text(item)?;
        let found = known.into_iter().find(|(name, _)| *name == given);
        found.map(|(_, firmware)| firmware).ok_or_else(|| {
            at.problem(format!(
                "`{given}` is no firmware; expected `bios` or `uefi`"
            ))
            .with_suggestion(
                &given,
                known.map(|(name, _)| name),
                "For `bios`, remove it.",
            )
        })
    });
    firmware
}

/// Returns the security and update suites of `suite`, if the mirror has Debian's layout.
fn updates(mirror: &str, suite: &str) -> Vec<String> {
    match mirror.strip_suffix("/debian") {
        Some(root) => vec![
            format!("{root}/debian-security {suite}-security"),
            format!("{mirror} {suite}-updates"),
        ],
        None => Vec::new(),
    }
}

fn extra_line(at: &Location, line: &str) -> Result<String, Problem> {
    let mut words = line.split_whitespace();
    let (Some(mirror), Some(suite), None) = (words.next(), words.next(), words.next()) else {
        return Err(at
            .problem(format!("`{line}`; expected a mirror and a suite"))
            .with_hint("Write it as in \"http://deb.debian.org/debian trixie-backports\"."));
    };
    mirror_url(at, mirror)?;
    suite_name(at, suite)?;
    Ok(format!("{} {suite}", mirror.trim_end_matches('/')))
}

fn mirror_url(at: &Location, mirror: &str) -> Result<(), Problem> {
    let known = ["http://", "https://", "file:///"];
    let plain = !mirror.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain && known.iter().any(|scheme| mirror.starts_with(scheme)) {
        return Ok(());
    }
    Err(at
        .problem(format!(
            "`{mirror}` is no package mirror; expected `http://…`, `https://…` or `file:///…`"
        ))
        .with_hint(format!(
            "Write a mirror such as \"{DEFAULT_MIRROR}\". Its index is signed, so http is safe."
        )))
}

fn suite_name(at: &Location, suite: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c);
    if suite.starts_with(|c: char| c.is_ascii_lowercase())
        && suite.chars().all(allowed)
        && !suite.contains("..")
    {
        return Ok(());
    }
    Err(at
        .problem(format!("`{suite}` is no suite; expected a name"))
        .with_hint("Write a suite such as \"trixie\"."))
}

fn package_name(at: &Location, name: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(allowed)
    {
        return Ok(());
    }
    Err(at
        .problem(format!(
            "`{name}` is no package's name; expected as in `chrony`"
        ))
        .with_hint("Write one name for each entry, without a version."))
}

const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const DEFAULT_SUITE: &str = "trixie";
