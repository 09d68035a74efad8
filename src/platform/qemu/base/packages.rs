//! Installs the signed packages of a distribution at the versions of the lock file.
//! Takes suites, packages and locked index digests; writes `root.tar`. Packages are not cached.
//! apt verifies the signatures, and the digest of an index determines the version of each package.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::isolation;
use crate::builder::BuilderError;
use crate::digest::Digest;
use crate::event::Events;
use crate::http;
use crate::platform::qemu::QemuOptions;
use crate::platform::qemu::lock::PackageIndex;
use crate::process::Program;
use crate::teardown::{Teardown, Undo, run_of};
use crate::wait::Interrupt;

/// The packages of each base, in addition to the required packages of the distribution.
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

/// A package of its own since Debian 13, and before that a part of systemd. A pattern of apt may
/// match nothing; see apt-patterns(7).
const REPART: &str = "?exact-name(systemd-repart)";

/// All inputs that determine the packages of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sources {
    /// Pairs of mirror and suite, the main one first.
    pub suites: Vec<(String, String)>,
    /// Package names, sorted and without duplicates.
    pub packages: Vec<String>,
    /// The locked index of each suite.
    pub indexes: Vec<PackageIndex>,
}

impl Sources {
    /// Returns the sources of a base. Fails unless the lock file has exactly one index for each
    /// suite.
    pub fn new(
        mirror: &str,
        suite: &str,
        extra: &[String],
        packages: &[String],
        indexes: &[PackageIndex],
    ) -> Result<Self, BuilderError> {
        let mut suites = vec![(without_slash(mirror), suite.to_owned())];
        for line in extra {
            let mut words = line.split_whitespace();
            let (Some(mirror), Some(suite), None) = (words.next(), words.next(), words.next())
            else {
                return Err(BuilderError::LockMismatch);
            };
            suites.push((without_slash(mirror), suite.to_owned()));
        }
        let covered = suites.iter().all(|(mirror, suite)| {
            indexes
                .iter()
                .any(|index| without_slash(&index.mirror) == *mirror && index.suite == *suite)
        });
        if !covered || indexes.len() != suites.len() {
            return Err(BuilderError::LockMismatch);
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

fn without_slash(mirror: &str) -> String {
    mirror.trim_end_matches('/').to_owned()
}

/// Makes `root.tar` in `folder`.
pub(super) async fn install(
    options: &QemuOptions,
    sources: &Sources,
    folder: &Path,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    // Fail before the installation, which takes minutes, if a mirror has changed.
    for index in &sources.indexes {
        let url = format!(
            "{}/dists/{}/InRelease",
            without_slash(&index.mirror),
            index.suite
        );
        let found = http::fetch_bytes(&url, INDEX_LIMIT_BYTES, events, interrupt).await?;
        compare(index, Some(&found))?;
    }
    let scratch = scratch(folder, teardown)?;
    let root = folder.join("root.tar");
    teardown.register(Undo::Process {
        marker: root.display().to_string(),
    })?;
    events.note(format!(
        "installing {} packages and their dependencies",
        sources.packages.len()
    ));
    let mmdebstrap = isolation::mounting(options, &options.tools.mmdebstrap, interrupt).await?;
    command(mmdebstrap, options, sources, &root)
        .env("TMPDIR", scratch)
        .env("SOURCE_DATE_EPOCH", super::newest(sources).to_string())
        .in_folder(folder)
        .run(interrupt)
        .await?;
    // The mirror may have changed in the meantime, so compare the indexes that apt used.
    for index in &sources.indexes {
        let used = read_used_index(&folder.join(INDEXES), index)?;
        compare(index, used.as_deref())?;
    }
    Ok(())
}

/// Returns the folder in which mmdebstrap makes the root. For users other than root mmdebstrap runs
/// under another user id, which needs access to all parent folders.
fn scratch(folder: &Path, teardown: &mut Teardown) -> Result<std::path::PathBuf, BuilderError> {
    if rustix::process::geteuid().is_root() {
        return Ok(folder.to_owned());
    }
    let run = run_of(teardown.work());
    let scratch = Path::new("/tmp").join(format!("vault-bake-{run}"));
    teardown.register(Undo::Folder {
        path: scratch.clone(),
    })?;
    fs::create_dir(&scratch).map_err(BuilderError::file(&scratch))?;
    Ok(scratch)
}

fn command(program: Program, options: &QemuOptions, sources: &Sources, root: &Path) -> Program {
    let mut program = program
        .env("LC_ALL", "C.UTF-8")
        .args([
            "--variant=minbase",
            "--format=tar",
            "--architectures=amd64",
            // A relative path, because mmdebstrap splits the arguments of a hook at spaces.
            r#"--customize-hook=mkdir "$1/tmp/indexes" && cp "$1"/var/lib/apt/lists/*InRelease "$1/tmp/indexes/""#,
            "--customize-hook=sync-out /tmp/indexes indexes",
            r#"--customize-hook=rm -r "$1/tmp/indexes""#,
        ])
        .arg(format!("--include={}", sources.packages.join(",")))
        .arg(format!("--include={REPART}"));
    if let Some(keyring) = &options.keyring {
        program = program.arg(format!("--keyring={}", keyring.display()));
    }
    let (_, suite) = &sources.suites[0];
    program = program.arg(suite).arg(root);
    for (mirror, suite) in &sources.suites {
        program = program.arg(format!("deb {mirror} {suite} main"));
    }
    program
}

/// Reads the index that apt used for a suite. apt names the file after the URL, without its scheme
/// and with `_` for `/`.
fn read_used_index(indexes: &Path, index: &PackageIndex) -> Result<Option<Vec<u8>>, BuilderError> {
    let mirror = without_slash(&index.mirror);
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
    let digest = found.map(Digest::hash_bytes);
    if digest == Some(locked.sha256) {
        return Ok(());
    }
    let found = match (found, digest) {
        (Some(bytes), Some(digest)) => format!("the one of {} ({digest})", date(bytes)),
        _ => "none".into(),
    };
    Err(BuilderError::IndexChanged {
        suite: format!("suite {} of {}", locked.suite, locked.mirror),
        expected: format!("{} ({})", locked.date, locked.sha256),
        found,
    })
}

/// Returns the `Date` field of an index.
fn date(index: &[u8]) -> String {
    String::from_utf8_lossy(index)
        .lines()
        .find_map(|line| line.strip_prefix("Date: "))
        .unwrap_or("an unknown date")
        .to_owned()
}

/// The limit of a download. An index has about 150 KB.
const INDEX_LIMIT_BYTES: u64 = 16 << 20;
/// The folder into which the hook copies the indexes.
const INDEXES: &str = "indexes";
