//! Generates the two ed25519 key pairs of a run, in the OpenSSH format.
//! The keys stay in memory; builders pass them to the build VM.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::secret::Secret;

/// The SSH keys of one run.
#[derive(Clone)]
pub struct Keys {
    /// The private host key for the machine, in the OpenSSH format.
    pub host_private: Secret,
    /// The only accepted host key: `ssh-ed25519 AAAA…`.
    pub host_public: String,
    /// The private key for the login, in the OpenSSH format. It stays in memory.
    pub user_private: Secret,
    /// The only key that may log in to the machine: `ssh-ed25519 AAAA…`.
    pub user_public: String,
}

/// A malformed key, or one that is not ed25519.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not an ed25519 key in the OpenSSH format: {why}")]
pub struct InvalidKey {
    /// The key, quoted.
    pub what: String,
    /// The defect.
    pub why: String,
}

impl Keys {
    /// Generates new keys.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn generate() -> Self {
        let (host_private, host_public) = pair("vault-bake host");
        let (user_private, user_public) = pair("vault-bake");
        Self {
            host_private,
            host_public,
            user_private,
            user_public,
        }
    }
}

fn pair(comment: &str) -> (Secret, String) {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
        .expect("an ed25519 key can be made of any random bytes");
    key.set_comment(comment);
    let private = key
        .to_openssh(LineEnding::LF)
        .expect("a new key can be encoded");
    let mut public = key.public_key().clone();
    public.set_comment("");
    let public = public.to_openssh().expect("a new key can be encoded");
    (Secret::new(private.as_str()), public.trim_end().to_owned())
}

/// Returns the bytes of a public key, as an SSH server sends them.
pub(super) fn public_bytes(public: &str) -> Result<Vec<u8>, InvalidKey> {
    let invalid = |why: String| InvalidKey {
        what: format!("`{public}`"),
        why,
    };
    let key = PublicKey::from_openssh(public).map_err(|error| invalid(error.to_string()))?;
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(invalid(format!("it is {}", key.algorithm())));
    }
    key.to_bytes().map_err(|error| invalid(error.to_string()))
}

/// Returns the fingerprint `SHA256:…` of a public key, given as an SSH server sends it.
pub fn fingerprint(bytes: &[u8]) -> String {
    match PublicKey::from_bytes(bytes) {
        Ok(key) => key.fingerprint(HashAlg::Sha256).to_string(),
        Err(_) => format!("an unreadable key of {} bytes", bytes.len()),
    }
}
