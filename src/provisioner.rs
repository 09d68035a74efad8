//! Loads provisioners: folders of POSIX sh scripts with a `provisioner.toml`.
//! Takes folders to search, returns [`Provisioner`]s with all their files, and the shared `lib.sh`.
//! Templates and inputs are left to the plan.

mod metadata;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::definition::files::{LARGEST_BYTES, files_below};
use crate::definition::{Action, Definition, Location, Problem, Problems, quoted_list, script};
use crate::digest::Digest;

pub use metadata::{Input, Pattern};

/// A loaded provisioner.
#[derive(Clone, Debug)]
pub struct Provisioner {
    /// Name of the provisioner, which is the name of its folder.
    pub name: String,
    /// Folder of the provisioner.
    pub folder: PathBuf,
    /// One-sentence description of the provisioner.
    pub description: String,
    /// Time limit of `install.sh` in seconds.
    pub timeout_s: u64,
    /// Provisioners that must come earlier, if a definition uses them.
    pub after: Vec<String>,
    /// Products whose version the definition must set.
    pub releases: Vec<String>,
    /// Product whose configuration is generated from the inputs:
    /// [`crate::product::Product::configuration`].
    pub configures: Option<String>,
    /// Whether the provisioner is the seal, which must be the last step.
    pub seal: bool,
    /// Inputs by name.
    pub inputs: BTreeMap<String, Input>,
    /// All files except `provisioner.toml`, sorted by path.
    pub files: Vec<SourceFile>,
    /// Digest of `provisioner.toml` and all files.
    pub digest: Digest,
}

/// A file of a provisioner's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFile {
    /// Path below the folder, separated by `/`.
    pub path: String,
    /// Mode: 0o755 for `*.sh`, 0o644 for others. Modes of a checkout are ignored.
    pub mode: u32,
    /// Digest of the content.
    pub sha256: Digest,
    /// Content of the file.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// The provisioners of one definition, and their shared functions.
#[derive(Clone, Debug)]
pub struct Provisioners {
    /// Provisioners by name.
    pub by_name: BTreeMap<String, Provisioner>,
    /// `lib.sh`: shell functions for all scripts.
    pub lib: SourceFile,
}

/// A provisioner that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionerError {
    /// `provisioner.toml`, or a step that names the provisioner, has problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// A required file is missing.
    #[error("provisioner {name} has no {file}; expected one in {}", folder.display())]
    MissingFile {
        /// Name of the provisioner.
        name: String,
        /// Name of the missing file.
        file: &'static str,
        /// Folder of the provisioner.
        folder: PathBuf,
    },
    /// A file exceeds the size limit.
    #[error("{} has {size_bytes} bytes; expected at most {LARGEST_BYTES}", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Size of the file in bytes.
        size_bytes: u64,
    },
    /// No search folder has the shared functions.
    #[error("cannot find {LIB} in {}", folders(searched))]
    NoLib {
        /// Folders that were searched.
        searched: Vec<PathBuf>,
    },
}

impl ProvisionerError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Invalid(problems) => return problems.hint(),
            Self::Read { .. } | Self::MissingFile { .. } => return None,
            Self::TooLarge { .. } => "Download and verify the file in a script.",
            Self::NoLib { .. } => {
                "Add the folder of the shipped provisioners to the search folders."
            }
        };
        Some(hint.to_owned())
    }
}

impl Provisioner {
    /// Loads the provisioner in `folder`.
    pub fn load(folder: &Path) -> Result<Self, ProvisionerError> {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let lacks = |file| ProvisionerError::MissingFile {
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
            .map(|path| read_file(folder, &path))
            .collect::<Result<Vec<_>, _>>()?;
        if !files.iter().any(|file| file.path == INSTALL) {
            return Err(lacks(INSTALL));
        }
        let problems = files
            .iter()
            .filter_map(|file| check_line_ends(folder, file));
        if let Some(problems) = Problems::from_unsorted(problems) {
            return Err(problems.into());
        }
        Ok(Self {
            digest: Digest::hash_value(&(Digest::hash_bytes(text), &files)),
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

    /// Tells if the provisioner has a `check.sh`.
    pub fn is_checked(&self) -> bool {
        self.files.iter().any(|file| file.path == CHECK)
    }
}

impl Provisioners {
    /// Loads all provisioners that `definition` names.
    ///
    /// A provisioner comes from the first folder of `search` that has it, and so does `lib.sh`.
    pub fn load(search: &[PathBuf], definition: &Definition) -> Result<Self, ProvisionerError> {
        let (provisioners, problems) = Self::load_valid(search, definition)?;
        match Problems::from_unsorted(problems) {
            Some(problems) => Err(problems.into()),
            None => Ok(provisioners),
        }
    }

    /// Loads the valid provisioners, as [`Self::load`] does, and returns the problems of the
    /// others.
    pub(crate) fn load_valid(
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
            let Some(folder) = find_folder(search, provisioner) else {
                problems.push(unknown_provisioner(search, &step.at, provisioner));
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
        let lib_folder = search
            .iter()
            .find(|folder| folder.join(LIB).is_file())
            .ok_or_else(|| ProvisionerError::NoLib {
                searched: search.to_vec(),
            })?;
        let found = by_name.into_iter();
        let by_name = found
            .filter_map(|(name, loaded)| Some((name, loaded?)))
            .collect();
        let lib = read_file(lib_folder, Path::new(LIB))?;
        problems.extend(check_line_ends(lib_folder, &lib));
        Ok((Self { by_name, lib }, problems))
    }
}

fn unknown_provisioner(search: &[PathBuf], step: &Location, provisioner: &str) -> Problem {
    let all = list_names(search);
    let known = || all.iter().map(String::as_str);
    step.below("provisioner")
        .problem(format!(
            "no provisioner `{provisioner}`; expected one of {}",
            quoted_list(known())
        ))
        .with_suggestion(
            provisioner,
            known(),
            format!("Add it to one of the search folders: {}.", folders(search)),
        )
}

/// Checks the line ends of a script, which is recognized by its name or first line.
fn check_line_ends(folder: &Path, file: &SourceFile) -> Option<Problem> {
    let is_script = file.path.ends_with(".sh") || file.content.starts_with(b"#!");
    let path = folder.join(&file.path);
    is_script.then(|| script::unix_lines(&path, &file.content).err())?
}

/// Returns the names of all provisioners in the folders `search`.
pub fn list_names(search: &[PathBuf]) -> Vec<String> {
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

fn find_folder(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    search
        .iter()
        .map(|folder| folder.join(name))
        .find(|folder| folder.join(METADATA).is_file())
}

fn read_file(folder: &Path, path: &Path) -> Result<SourceFile, ProvisionerError> {
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
    let path = path
        .to_str()
        .ok_or_else(|| fail(io::Error::other("the name is not UTF-8")))?;
    Ok(SourceFile {
        path: path.to_owned(),
        mode: if path.ends_with(".sh") { 0o755 } else { 0o644 },
        sha256: Digest::hash_bytes(&content),
        content,
    })
}

fn folders(search: &[PathBuf]) -> String {
    let folders: Vec<String> = search
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    quoted_list(folders.iter().map(String::as_str))
}

const METADATA: &str = "provisioner.toml";
/// Name of the script that a step runs.
pub const INSTALL: &str = "install.sh";
/// Name of the script that checks the result of a step.
pub(crate) const CHECK: &str = "check.sh";
const LIB: &str = "lib.sh";
