//! Keeps the secrets of a cluster outside the repository: in a private folder, or by two programs.
//! A name gets one value: a command that was killed and is repeated uses the first value again.

mod commands;
mod folder;
mod name;

use std::path::PathBuf;

use crate::process::ProcessError;
use crate::secret::Secret;
use crate::wait::{Interrupt, Interrupted};

use commands::Commands;
use folder::Folder;

pub(crate) use folder::read_private_file;
pub use folder::{private_folder, replace_private_file};
pub use name::SecretName;

/// The largest secret, in bytes.
const LIMIT_BYTES: u64 = 1024 * 1024;

/// Where the secrets of a cluster are.
pub struct SecretStore(Place);

enum Place {
    Folder(Folder),
    Commands(Commands),
}

/// A secret that cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A name that no secret can have.
    #[error("`{0}` is not a name of a secret of your own")]
    Name(String),
    /// A file or folder that cannot be read or written.
    #[error("cannot use {}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// A file or folder that other users can access.
    #[error("cannot use {}: other users have access (mode {mode:04o})", .path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A path that is not what it should be.
    #[error("cannot use {}: it is {found}", .path.display())]
    Other {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A value that is no secret.
    #[error("cannot read the secret {name}: it is {found}")]
    Value {
        /// The name of the secret.
        name: String,
        /// Description of the value.
        found: &'static str,
    },
    /// A name that has another value.
    #[error("cannot store the secret {0}: it already has another value")]
    Exists(String),
    /// A secret that is absent after it was stored.
    #[error("cannot store the secret {0}: the command that fetches it does not find it afterwards")]
    Lost(String),
    /// A failure of a program that fetches or stores secrets.
    #[error("cannot {verb} the secret {name}: {error}")]
    Command {
        /// `fetch` or `store`.
        verb: &'static str,
        /// The name of the secret.
        name: String,
        /// The failure.
        error: ProcessError,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl SecretError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name(_) => Some(
                "Choose 1 to 64 letters, digits, `-`, `_` or `.`, and none of the names that vault-bake uses."
                    .to_owned(),
            ),
            Self::Exposed { path, .. } => Some(format!(
                "Run `chmod go= {}`. If others may have read secrets, replace these.",
                path.display()
            )),
            Self::Command {
                error: ProcessError::Start { .. },
                ..
            } => Some("Correct the commands of `identity.secrets` in cluster.toml.".to_owned()),
            Self::Command { verb: "fetch", .. } => Some(
                "Run the command by hand. If a secret is absent, it must exit with 3.".to_owned(),
            ),
            Self::Command { .. } => Some(
                "Run the command by hand. It must read the value from standard input.".to_owned(),
            ),
            _ => None,
        }
    }
}

impl SecretStore {
    /// Uses a folder that only this user can read. If it is absent, the first secret creates it.
    ///
    /// It refuses a folder or a file of another user, with access for others, and links.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, SecretError> {
        Ok(Self(Place::Folder(Folder::open(path.into())?)))
    }

    /// Uses two programs, which get the name of a secret as an additional last argument.
    ///
    /// - `fetch` writes the value to standard output, or exits with 3 if there is none.
    /// - `store` reads the value from standard input.
    pub fn commands(fetch: Vec<String>, store: Vec<String>) -> Self {
        Self(Place::Commands(Commands { fetch, store }))
    }

    /// Describes where a secret belongs, after "store it".
    pub fn place_of(&self, name: &SecretName) -> String {
        match &self.0 {
            Place::Folder(folder) => {
                let path = folder.path(&name.to_string());
                format!("in {}, with mode 0600", path.display())
            }
            Place::Commands(commands) => {
                let program = commands.store.first().map_or("", String::as_str);
                format!("with `{program}`, under the name {name}")
            }
        }
    }

    /// Returns the folder or the command that is asked for secrets.
    pub(super) fn asked(&self) -> String {
        match &self.0 {
            Place::Folder(folder) => folder.root().display().to_string(),
            Place::Commands(commands) => {
                let program = commands.fetch.first().map_or("", String::as_str);
                format!("`{program}`")
            }
        }
    }

    /// Returns a secret, without line feeds at its end. `None` if it is absent.
    pub async fn get(
        &self,
        name: &SecretName,
        interrupt: &Interrupt,
    ) -> Result<Option<Secret>, SecretError> {
        let name = name.checked()?;
        match &self.0 {
            Place::Folder(folder) => folder.get(&name),
            Place::Commands(commands) => commands.get(&name, interrupt).await,
        }
    }

    /// Stores a secret. Fails if the name has another value.
    pub async fn put(
        &self,
        name: &SecretName,
        value: &Secret,
        interrupt: &Interrupt,
    ) -> Result<(), SecretError> {
        let stored = self
            .get_or_create(name, || Ok::<_, SecretError>(value.clone()), interrupt)
            .await?;
        if stored.expose() == trimmed(value.expose()) {
            Ok(())
        } else {
            Err(SecretError::Exists(name.to_string()))
        }
    }

    /// Returns a secret. If it is absent, stores the value of `make` first.
    ///
    /// If another process is faster, returns the value of that process.
    pub async fn get_or_create<E: From<SecretError>>(
        &self,
        name: &SecretName,
        make: impl FnOnce() -> Result<Secret, E>,
        interrupt: &Interrupt,
    ) -> Result<Secret, E> {
        if let Some(present) = self.get(name, interrupt).await? {
            return Ok(present);
        }
        let text = name.checked()?;
        let value = make()?;
        match &self.0 {
            Place::Folder(folder) => folder.create(&text, &value)?,
            Place::Commands(commands) => commands.store(&text, &value, interrupt).await?,
        }
        // What is stored counts, not what was made.
        let stored = self.get(name, interrupt).await?;
        Ok(stored.ok_or(SecretError::Lost(text))?)
    }

    /// Removes a secret. Returns whether it is absent now: programs keep what they stored.
    pub fn remove(&self, name: &SecretName) -> Result<bool, SecretError> {
        let name = name.checked()?;
        match &self.0 {
            Place::Folder(folder) => folder.remove(&name).map(|()| true),
            Place::Commands(_) => Ok(false),
        }
    }
}

/// Returns the secret with this text. It has no line feeds at its end, as tools add them.
fn parse(name: &str, bytes: Vec<u8>) -> Result<Secret, SecretError> {
    let wrong = |found| SecretError::Value {
        name: name.to_owned(),
        found,
    };
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(wrong("larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))?;
    match trimmed(&text) {
        "" => Err(wrong("empty")),
        text => Ok(Secret::new(text)),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
