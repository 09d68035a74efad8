//! The keys of one run.
//!
//! In: the system's random numbers. Out: two ed25519 key pairs in OpenSSH's format. Deliberately writes no file.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::secret::Secret;

/// The keys of one run: made for it, gone with it.
#[derive(Clone)]
pub struct Keys {
    /// The host's private key, OpenSSH format; goes into the machine.
    pub host_private: Secret,
    /// `ssh-ed25519 AAAA…`: the only host key that is accepted.
    pub host_public: String,
    /// Ours, OpenSSH format; stays in memory.
    pub user_private: Secret,
    /// `ssh-ed25519 AAAA…`: the only key that the machine lets in.
    pub user_public: String,
}

/// A key that is none.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not an ed25519 key in the OpenSSH format: {why}")]
pub struct InvalidKey {
    /// Which.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Keys {
    /// Makes new keys.
    ///
    /// # Panics
    /// Where the system has no random numbers.
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

/// The fingerprint, `SHA256:…`, of a public key in the OpenSSH format, and the key's bytes as sent by a server.
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

/// The fingerprint, as in `SHA256:…`, of a public key as servers send it.
pub fn fingerprint(bytes: &[u8]) -> String {
    match PublicKey::from_bytes(bytes) {
        Ok(key) => key.fingerprint(HashAlg::Sha256).to_string(),
        Err(_) => format!("a key of {} bytes that cannot be read", bytes.len()),
    }
}
