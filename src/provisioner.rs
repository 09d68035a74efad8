//! Provisioners: folders of POSIX sh with a `provisioner.toml` that says what they take and what they need.
//!
//! In: folders to search. Out: [`Provisioner`]s with all their files in memory, and the `lib.sh` that they share.
//! Deliberately renders no template and judges no input: that is the plan's, which knows the definition.

mod metadata;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::definition::files::{LARGEST_BYTES, files_below};
use crate::definition::{Action, Definition, Location, Problem, Problems, listed, script};
use crate::digest::Digest;

pub use metadata::{Input, Pattern};

/// A provisioner, read.
#[derive(Clone, Debug)]
pub struct Provisioner {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// In a sentence.
    pub description: String,
    /// How long `install.sh` may take, in seconds.
    pub timeout_s: u64,
    /// Those of these that are in a definition must come before this one.
    pub after: Vec<String>,
    /// Releases that a definition must name.
    pub releases: Vec<String>,
    /// The product whose file it gets, made of its inputs by [`crate::configuration`].
    pub configures: Option<String>,
    /// Whether it is the seal: last, and exactly one.
    pub seal: bool,
    /// What it may be given.
    pub inputs: BTreeMap<String, Input>,
    /// Every file but `provisioner.toml`, sorted by path.
    pub files: Vec<SourceFile>,
    /// Over `provisioner.toml` and all files.
    pub digest: Digest,
}

/// A file of a provisioner, as it is in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Below the folder, with `/`.
    pub path: String,
    /// 0o755 for `*.sh`, 0o644 for all others: what a checkout made of them does not count.
    pub mode: u32,
    /// Of the content.
    pub sha256: Digest,
    /// The content.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// The provisioners of one definition, and what all of them share.
#[derive(Clone, Debug)]
pub struct Provisioners {
    /// By name.
    pub by_name: BTreeMap<String, Provisioner>,
    /// `lib.sh`: shell functions that every script may use.
    pub lib: SourceFile,
}

/// A provisioner that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionerError {
    /// Something in its `provisioner.toml`, or in the step that names it, is wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A file could not be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file that it must have is not there.
    #[error("provisioner {name} has no {file}; expected one in {}", folder.display())]
    Lacks {
        /// The provisioner.
        name: String,
        /// The file.
        file: &'static str,
        /// Its folder.
        folder: PathBuf,
    },
    /// One file is too large to be carried.
    #[error("{} has {size_bytes} bytes; expected at most {LARGEST_BYTES}", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// No search folder has the shared functions.
    #[error("no {LIB} found; expected one in {}", folders(searched))]
    NoLib {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
}

impl ProvisionerError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl Provisioner {
    /// Reads the provisioner in `folder`.
    pub fn load(folder: &Path) -> Result<Self, ProvisionerError> {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let lacks = |file| ProvisionerError::Lacks {
            name: name.clone(),
            file,
            folder: folder.to_owned(),
        };
        let file = folder.join(METADATA);
        if !file.is_file() {
            return Err(lacks(METADATA));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| ProvisionerError::Read {
            path: file.clone(),
            error,
        })?;
        let metadata = metadata::parse(&file, &text)?;
        let files = files_below(folder)
            .map_err(|(path, error)| ProvisionerError::Read { path, error })?
            .into_iter()
            .filter(|path| path != Path::new(METADATA))
            .map(|path| read(folder, &path))
            .collect::<Result<Vec<_>, _>>()?;
        if !files.iter().any(|file| file.path == INSTALL) {
            return Err(lacks(INSTALL));
        }
        let refused = files.iter().filter_map(|file| refused(folder, file));
        if let Some(problems) = Problems::of(refused) {
            return Err(problems.into());
        }
        Ok(Self {
            digest: Digest::of_value(&(Digest::of(text), &files)),
            name,
            folder: folder.to_owned(),
            description: metadata.description,
            timeout_s: metadata.timeout_s,
            after: metadata.after,
            releases: metadata.releases,
            configures: metadata.configures,
            seal: metadata.seal,
            inputs: metadata.inputs,
            files,
        })
    }

    /// Whether it has a `check.sh`.
    pub fn is_checked(&self) -> bool {
        self.files.iter().any(|file| file.path == CHECK)
    }
}

impl Provisioners {
    /// Reads all provisioners that `definition` names. The first folder of `search` that has one of that name counts,
    /// and the first one that has a `lib.sh`.
    pub fn load(search: &[PathBuf], definition: &Definition) -> Result<Self, ProvisionerError> {
        let (provisioners, problems) = Self::find(search, definition)?;
        match Problems::of(problems) {
            Some(problems) => Err(problems.into()),
            None => Ok(provisioners),
        }
    }

    /// The provisioners that can be had, as [`Self::load`] reads them, and what is wrong with the others.
    pub(crate) fn find(
        search: &[PathBuf],
        definition: &Definition,
    ) -> Result<(Self, Vec<Problem>), ProvisionerError> {
        let mut by_name: BTreeMap<String, Option<Provisioner>> = BTreeMap::new();
        let mut problems = Vec::new();
        for step in &definition.steps {
            let Action::Provisioner { provisioner, .. } = &step.action else {
                continue;
            };
            if matches!(by_name.get(provisioner), Some(Some(_))) {
                continue;
            }
            let Some(folder) = find(search, provisioner) else {
                problems.push(unknown(search, &step.at, provisioner));
                continue;
            };
            let loaded = match Provisioner::load(&folder) {
                Ok(loaded) => Some(loaded),
                Err(ProvisionerError::Invalid(found)) => {
                    problems.extend(found);
                    None
                }
                Err(error) => return Err(error),
            };
            by_name.insert(provisioner.clone(), loaded);
        }
        let lib = search
            .iter()
            .find(|folder| folder.join(LIB).is_file())
            .ok_or_else(|| ProvisionerError::NoLib {
                searched: search.to_vec(),
            })?;
        let found = by_name.into_iter();
        let by_name = found.filter_map(|(name, one)| Some((name, one?))).collect();
        let folder = lib;
        let lib = read(folder, Path::new(LIB))?;
        problems.extend(refused(folder, &lib));
        Ok((Self { by_name, lib }, problems))
    }
}

fn unknown(search: &[PathBuf], step: &Location, provisioner: &str) -> Problem {
    let all = available(search);
    let known = || all.iter().map(String::as_str);
    step.below("provisioner")
        .problem(format!(
            "no provisioner `{provisioner}`; expected one of {}",
            listed(known())
        ))
        .did_you_mean(
            provisioner,
            known(),
            format!("searched were {}", folders(search)),
        )
}

/// What is wrong with the form of a file that runs: a script by its name, or by its first line. Others are data.
fn refused(folder: &Path, file: &SourceFile) -> Option<Problem> {
    let runs = file.path.ends_with(".sh") || file.content.starts_with(b"#!");
    let file_there = folder.join(&file.path);
    runs.then(|| script::unix_lines(&file_there, &file.content).err())?
}

/// The names of all provisioners in the folders of `search`.
pub fn available(search: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = search
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join(METADATA).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn find(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    search
        .iter()
        .map(|folder| folder.join(name))
        .find(|folder| folder.join(METADATA).is_file())
}

fn read(folder: &Path, path: &Path) -> Result<SourceFile, ProvisionerError> {
    let whole = folder.join(path);
    let fail = |error| ProvisionerError::Read {
        path: whole.clone(),
        error,
    };
    let size_bytes = std::fs::metadata(&whole).map_err(fail)?.len();
    if size_bytes > LARGEST_BYTES {
        return Err(ProvisionerError::TooLarge {
            path: whole,
            size_bytes,
        });
    }
    let content = std::fs::read(&whole).map_err(fail)?;
    let path = path.to_str().ok_or_else(|| {
        fail(io::Error::other(
            "the name is not UTF-8; expected plain letters",
        ))
    })?;
    Ok(SourceFile {
        path: path.to_owned(),
        mode: if path.ends_with(".sh") { 0o755 } else { 0o644 },
        sha256: Digest::of(&content),
        content,
    })
}

fn folders(search: &[PathBuf]) -> String {
    let folders: Vec<String> = search
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    listed(folders.iter().map(String::as_str))
}

const METADATA: &str = "provisioner.toml";
/// The script that a step runs.
pub const INSTALL: &str = "install.sh";
/// The script that checks what the step did.
pub const CHECK: &str = "check.sh";
const LIB: &str = "lib.sh";
