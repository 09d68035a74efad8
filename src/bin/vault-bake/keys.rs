//! The signing key and the trust policy of one call.
//! Reads what the command line names, and creates the default signing key when first needed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vault_bake::event::Events;
use vault_bake::sign::{PublicKey, Signer, SigningKey, Trust};

use crate::args::Keys;
use crate::exit::{Exit, Failure};

/// The smallest number of hex digits that name a key.
const SHORTEST_HEX: usize = 6;

/// The sources of the signing key and of the trust policy.
pub struct KeyRing {
    signing_key: PathBuf,
    /// Whether the user named the key file. Only the default file is created when missing.
    is_named: bool,
    command: Option<SignerCommand>,
    trust: Option<PathBuf>,
}

/// A program that signs.
struct SignerCommand {
    /// The program with its arguments.
    command: String,
    public_key: PathBuf,
}

impl KeyRing {
    /// Takes the options of the command line. `folder` has the default signing key.
    pub fn new(keys: Keys, folder: &Path) -> Self {
        let is_named = keys.signing_key.is_some();
        let command = keys.signer.zip(keys.signer_public_key);
        Self {
            signing_key: keys
                .signing_key
                .unwrap_or_else(|| folder.join("signing-key.pem")),
            is_named,
            command: command.map(|(command, public_key)| SignerCommand {
                command,
                public_key,
            }),
            trust: keys.trust,
        }
    }

    /// Returns the program or key that signs. Creates the default key if it does not exist.
    pub fn signer(&self, events: &Events) -> Result<Signer, Failure> {
        if let Some(SignerCommand {
            command,
            public_key,
        }) = &self.command
        {
            let path = public_key.display();
            let pem = fs::read(public_key)
                .map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
            return Ok(Signer::Command {
                command: command.split_whitespace().map(str::to_owned).collect(),
                public: PublicKey::from_pem(&path.to_string(), &pem)?,
            });
        }
        if !self.is_named && !self.signing_key.exists() {
            self.create_key()?;
            events.note(format!(
                "created a signing key: {}; keep it secret, it signs records in your name",
                self.signing_key.display()
            ));
        }
        Ok(Signer::Key(SigningKey::from_file(&self.signing_key)?))
    }

    fn create_key(&self) -> Result<(), Failure> {
        let path = &self.signing_key;
        let failed = |error: std::io::Error| {
            let message = format!("cannot write the signing key {}: {error}", path.display());
            Failure::new(Exit::Failed, message)
        };
        let (_, pem) = SigningKey::generate()?;
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).map_err(failed)?;
        // Written under a temporary name first: two processes at once must end with one key.
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

    /// Returns the user's copy of the trust policy, if --trust names one.
    pub fn trust(&self) -> Result<Option<Trust>, Failure> {
        self.trust.as_deref().map(read_trust).transpose()
    }
}

/// Reads a trust policy from a file.
pub fn read_trust(path: &Path) -> Result<Trust, Failure> {
    let path_text = path.display();
    let text = fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {path_text}: {error}")))?;
    Trust::from_json(&text).map_err(|error| Failure::usage(format!("{path_text}: {error}")))
}

/// Reads a public key: PEM, or the output of `trust key --json`. `what` is for errors.
pub fn read_public_key(what: &str, bytes: &[u8]) -> Result<PublicKey, Failure> {
    let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let pem = json.as_ref().and_then(|json| json["pem"].as_str());
    Ok(PublicKey::from_pem(what, pem.map_or(bytes, str::as_bytes))?)
}

/// Returns the key that a command line names: a file, or the first digits of the id of a key of
/// `trust`.
pub fn find_key(text: &str, trust: &Trust) -> Result<PublicKey, Failure> {
    let path = Path::new(text);
    if path.is_file() {
        let bytes = fs::read(path)
            .map_err(|error| Failure::usage(format!("cannot read {text}: {error}")))?;
        return read_public_key(text, &bytes);
    }
    let id = match text.strip_prefix("sha256:") {
        Some(_) => text.to_owned(),
        None => format!("sha256:{text}"),
    };
    let mut found = trust
        .keys()
        .filter(|key| key.id().to_string().starts_with(&id));
    match (found.next(), found.next()) {
        (Some(key), None) if id.len() >= "sha256:".len() + SHORTEST_HEX => Ok(key.clone()),
        _ => {
            let ids: Vec<String> = trust.keys().map(|key| key.id().to_string()).collect();
            let message = format!(
                "cannot find the key {text}: it is no file, and the trust policy has only {}",
                ids.join(", ")
            );
            Err(Failure::usage(message).hint(format!(
                "Name a file with a public key, or the first {SHORTEST_HEX} or more digits of one of these ids."
            )))
        }
    }
}
