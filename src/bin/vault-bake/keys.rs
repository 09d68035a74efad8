//! The keys of this call: who signs, and whose word counts.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vault_bake::event::Events;
use vault_bake::sign::{PublicKey, SignError, Signer, SigningKey, Trust};

use crate::args::Keys;
use crate::exit::{Exit, Failure};

/// Where keys come from.
pub struct KeyRing {
    signing_key: PathBuf,
    /// Whether somebody named the file; one that nobody named is made when it is first needed.
    named: bool,
    command: Option<(String, PathBuf)>,
    trust: Option<PathBuf>,
}

impl KeyRing {
    /// `folder` has the key that is used where the command line names none.
    pub fn new(keys: Keys, folder: &Path) -> Self {
        let named = keys.signing_key.is_some();
        Self {
            signing_key: keys
                .signing_key
                .unwrap_or_else(|| folder.join("signing-key.pem")),
            named,
            command: keys.signer.zip(keys.signer_public_key),
            trust: keys.trust,
        }
    }

    /// Who signs.
    pub fn signer(&self, events: &Events) -> Result<Signer, Failure> {
        if let Some((command, public)) = &self.command {
            let pem = fs::read(public)
                .map_err(|error| Failure::usage(format!("{}: {error}", public.display())))?;
            return Ok(Signer::Command {
                command: command.split_whitespace().map(str::to_owned).collect(),
                public: PublicKey::from_pem(&public.display().to_string(), &pem)?,
            });
        }
        if !self.named && !self.signing_key.exists() {
            self.make()?;
            events.note(format!(
                "made a signing key: {}; whoever has it can sign records in your name",
                self.signing_key.display()
            ));
        }
        Ok(Signer::Key(SigningKey::from_file(&self.signing_key)?))
    }

    fn make(&self) -> Result<(), Failure> {
        let path = &self.signing_key;
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
        };
        let (_, pem) = SigningKey::generate()?;
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).map_err(failed)?;
        // Written whole under another name first: two calls at once must end up with one key.
        let temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        OpenOptions::new()
            .write(true)
            .mode(0o600)
            .open(temporary.path())
            .and_then(|mut file| {
                file.write_all(pem.as_bytes())?;
                file.sync_all()
            })
            .map_err(failed)?;
        match temporary.persist_noclobber(path) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error.error)),
        }
    }

    /// The policy that the store must have had, where the command line names one.
    pub fn trust(&self) -> Result<Option<Trust>, Failure> {
        let Some(path) = &self.trust else {
            return Ok(None);
        };
        read_trust(path).map(Some)
    }
}

/// Reads a trust policy.
pub fn read_trust(path: &Path) -> Result<Trust, Failure> {
    let named = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = fs::read(path).map_err(|error| named(error.to_string()))?;
    Trust::from_json(&text).map_err(|error| named(error.to_string()))
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        let exit = match error {
            SignError::Invalid { .. } => Exit::Integrity,
            SignError::Key { .. } | SignError::Exposed { .. } | SignError::Shape { .. } => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
