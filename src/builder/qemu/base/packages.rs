//! Installs a distribution's signed packages into `root.tar`, and holds them to the lock.
//!
//! In: mirrors, suites, packages, the digests of the suites' signed indexes. Out: `root.tar`. apt verifies the
//! signatures; the index's digest then fixes every package. Deliberately keeps no copy of the packages.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::isolation;
use crate::builder::BuilderError;
use crate::builder::qemu::QemuOptions;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::lock::PackageIndex;
use crate::process::Program;
use crate::teardown::{Teardown, Undo};
use crate::wait::Interrupt;

/// What every base has beside the distribution's required packages.
const ALWAYS: [&str; 9] = [
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "dbus",
    "udev",
    "openssh-server",
    "ca-certificates",
    "systemd-resolved",
    "iproute2",
    "initramfs-tools",
];

/// All that a base's packages are decided by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sources {
    /// Mirror and suite, the main one first.
    pub suites: Vec<(String, String)>,
    /// Sorted, each once.
    pub packages: Vec<String>,
    /// One for each suite.
    pub indexes: Vec<PackageIndex>,
}

impl Sources {
    /// The sources of a wanted base and its lock, which must have an index for each suite and no other.
    pub fn new(
        mirror: &str,
        suite: &str,
        extra: &[String],
        packages: &[String],
        indexes: &[PackageIndex],
    ) -> Result<Self, BuilderError> {
        let mut suites = vec![(bare(mirror), suite.to_owned())];
        for line in extra {
            let mut words = line.split_whitespace();
            let (Some(mirror), Some(suite), None) = (words.next(), words.next(), words.next())
            else {
                return Err(BuilderError::LockOfAnotherBase);
            };
            suites.push((bare(mirror), suite.to_owned()));
        }
        let covered = suites.iter().all(|(mirror, suite)| {
            indexes
                .iter()
                .any(|index| bare(&index.mirror) == *mirror && index.suite == *suite)
        });
        if !covered || indexes.len() != suites.len() {
            return Err(BuilderError::LockOfAnotherBase);
        }
        let mut packages: Vec<String> = ALWAYS
            .iter()
            .map(ToString::to_string)
            .chain(packages.iter().cloned())
            .collect();
        packages.sort();
        packages.dedup();
        Ok(Self {
            suites,
            packages,
            indexes: indexes.to_vec(),
        })
    }
}

fn bare(mirror: &str) -> String {
    mirror.trim_end_matches('/').to_owned()
}

/// Makes `root.tar` in `folder`.
pub(super) async fn install(
    settings: &QemuOptions,
    sources: &Sources,
    folder: &Path,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    // A mirror that moved on is told at once, not after all packages were installed.
    for index in &sources.indexes {
        let url = format!("{}/dists/{}/InRelease", bare(&index.mirror), index.suite);
        let found = http::fetch_bytes(&url, INDEX_LIMIT_BYTES, events, interrupt).await?;
        compare(index, Some(&found))?;
    }
    let scratch = scratch(folder, teardown)?;
    let root = folder.join("root.tar");
    teardown.register(Undo::Process {
        marker: root.display().to_string(),
    })?;
    events.note(format!(
        "installing {} packages and what they need",
        sources.packages.len()
    ));
    let mmdebstrap = isolation::mounting(settings, &settings.tools.mmdebstrap, interrupt).await?;
    command(mmdebstrap, settings, sources, &root)
        .env("TMPDIR", scratch)
        .env("SOURCE_DATE_EPOCH", super::newest(sources).to_string())
        .in_folder(folder)
        .run(interrupt)
        .await?;
    // What apt itself verified and installed from is what counts.
    for index in &sources.indexes {
        compare(index, used(&folder.join(INDEXES), index)?.as_deref())?;
    }
    Ok(())
}

/// Where mmdebstrap makes the root. A user other than root gets another user id for it, which must be able to pass
/// through all folders above.
fn scratch(folder: &Path, teardown: &mut Teardown) -> Result<std::path::PathBuf, BuilderError> {
    if rustix::process::geteuid().is_root() {
        return Ok(folder.to_owned());
    }
    let run = crate::builder::qemu::machine::run_of(teardown.work());
    let scratch = Path::new("/tmp").join(format!("vault-bake-{run}"));
    teardown.register(Undo::Folder {
        path: scratch.clone(),
    })?;
    fs::create_dir(&scratch).map_err(BuilderError::file(&scratch))?;
    Ok(scratch)
}

fn command(program: Program, settings: &QemuOptions, sources: &Sources, root: &Path) -> Program {
    let mut program = program
        .env("LC_ALL", "C.UTF-8")
        .args([
            "--variant=minbase",
            "--format=tar",
            "--architectures=amd64",
            // The folder of the indexes is named relative to ours, which has no character that a hook would split at.
            r#"--customize-hook=mkdir "$1/tmp/indexes" && cp "$1"/var/lib/apt/lists/*InRelease "$1/tmp/indexes/""#,
            "--customize-hook=sync-out /tmp/indexes indexes",
            r#"--customize-hook=rm -r "$1/tmp/indexes""#,
        ])
        .arg(format!("--include={}", sources.packages.join(",")));
    if let Some(keyring) = &settings.keyring {
        program = program.arg(format!("--keyring={}", keyring.display()));
    }
    let (_, suite) = &sources.suites[0];
    program = program.arg(suite).arg(root);
    for (mirror, suite) in &sources.suites {
        program = program.arg(format!("deb {mirror} {suite} main"));
    }
    program
}

/// The index of a suite that apt used, by apt's name for it: the URL without its scheme, with `_` for `/`.
fn used(indexes: &Path, index: &PackageIndex) -> Result<Option<Vec<u8>>, BuilderError> {
    let mirror = bare(&index.mirror);
    let host_and_path = mirror
        .split_once("://")
        .map_or(mirror.as_str(), |(_, rest)| rest);
    let name = format!("{host_and_path}/dists/{}/InRelease", index.suite)
        .replace('_', "%5f")
        .replace('/', "_");
    let path = indexes.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BuilderError::File { path, error }),
    }
}

fn compare(locked: &PackageIndex, found: Option<&[u8]>) -> Result<(), BuilderError> {
    let digest = found.map(Digest::of);
    if digest == Some(locked.sha256) {
        return Ok(());
    }
    let found = match (found, digest) {
        (Some(bytes), Some(digest)) => format!("the one of {} ({digest})", date(bytes)),
        _ => "none".into(),
    };
    Err(BuilderError::IndexChanged {
        locked: Box::new(locked.clone()),
        found,
    })
}

/// The `Date` of an index as it stands there.
fn date(index: &[u8]) -> String {
    String::from_utf8_lossy(index)
        .lines()
        .find_map(|line| line.strip_prefix("Date: "))
        .unwrap_or("an unknown date")
        .to_owned()
}

/// An index is about 150 KB.
const INDEX_LIMIT_BYTES: u64 = 16 << 20;
/// Where the hook puts the indexes, below the folder.
const INDEXES: &str = "indexes";
