//! Keys: ed25519, and P-256 for services without ed25519, such as Azure Key Vault.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SignError;
use crate::digest::Digest;

/// The id of a key: the SHA-256 of its public half as a DER SubjectPublicKeyInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = crate::digest::InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The public half of a key. Serialized as base64 of its DER SubjectPublicKeyInfo.
#[derive(Clone)]
pub struct PublicKey {
    der: Vec<u8>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    P256(PKey<Public>),
}

impl PublicKey {
    /// Parses PEM: a public key, or the public half of a private one. `what` is for errors.
    pub fn from_pem(what: &str, pem: &[u8]) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Key {
            what: what.to_owned(),
            why,
        };
        let key = PKey::public_key_from_pem(pem)
            .map_err(|_| wrong("it is not a public key".to_owned()))?;
        Self::new(key).map_err(wrong)
    }

    fn from_der(der: &[u8]) -> Result<Self, String> {
        let key = PKey::public_key_from_der(der)
            .map_err(|_| "it is not a public key in DER".to_owned())?;
        let key = Self::new(key)?;
        // A second encoding would give the same key a second id.
        (key.der == der)
            .then_some(key)
            .ok_or_else(|| "its encoding is not DER".to_owned())
    }

    fn new(key: PKey<Public>) -> Result<Self, String> {
        let message = |error: openssl::error::ErrorStack| error.to_string();
        let der = key.public_key_to_der().map_err(message)?;
        let kind = match key.id() {
            Id::ED25519 => {
                let raw = key.raw_public_key().map_err(message)?;
                let raw = raw
                    .try_into()
                    .map_err(|_| "it is not an ed25519 key".to_owned())?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&raw)
                    .map_err(|error| error.to_string())?;
                if key.is_weak() {
                    return Err("it is an ed25519 key of small order".to_owned());
                }
                Kind::Ed25519(Box::new(key))
            }
            Id::EC if curve(&key) == Some(Nid::X9_62_PRIME256V1) => Kind::P256(key),
            other => {
                return Err(format!(
                    "it is of an unsupported kind: {}",
                    kind_name(other)
                ));
            }
        };
        Ok(Self { der, kind })
    }

    /// Returns the id of the key.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::hash_bytes(&self.der))
    }

    /// Returns `ed25519` or `ecdsa-p256-sha256`.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519(_) => "ed25519",
            Kind::P256(_) => "ecdsa-p256-sha256",
        }
    }

    /// Returns the key in PEM.
    pub fn to_pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    }

    /// Whether `signature` is a signature by this key over `bytes`.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
            Kind::P256(key) => verifies_p256(key, bytes, signature).unwrap_or(false),
        }
    }

    /// Converts a signature to the stored form: the two plain numbers that services return for
    /// P-256 become a DER sequence.
    pub(super) fn stored_form(&self, signature: Vec<u8>) -> Vec<u8> {
        match (&self.kind, signature.len()) {
            (Kind::P256(_), 64) => plain_to_der(&signature).unwrap_or(signature),
            _ => signature,
        }
    }
}

/// A batch of ed25519 signatures, which needs a third of the time of single checks.
///
/// A batch is valid if a random combination of all equations is. It detects every signature that
/// was made without the key. The owner of a key can make signatures that are valid in a batch but
/// not alone (RFC 8032 allows cofactors).
#[derive(Default)]
pub(super) struct Batch {
    queued: ed25519_zebra::batch::Verifier,
    /// Whether one of them is malformed.
    malformed: bool,
}

impl Batch {
    /// Whether signatures by `key` can be checked in a batch.
    pub(super) fn supports(key: &PublicKey) -> bool {
        matches!(key.kind, Kind::Ed25519(_))
    }

    /// Adds a signature, if its kind is supported.
    pub(super) fn add(&mut self, key: &PublicKey, message: &[u8], signature: &[u8]) {
        let Kind::Ed25519(key) = &key.kind else {
            return;
        };
        match ed25519_zebra::Signature::from_slice(signature) {
            Ok(signature) => {
                let key = ed25519_zebra::VerificationKeyBytes::from(key.to_bytes());
                self.queued.queue((key, signature, message));
            }
            Err(_) => self.malformed = true,
        }
    }

    /// Whether all signatures are valid. If not, check each by itself.
    pub(super) fn all_valid(self) -> bool {
        !self.malformed && self.queued.verify(rand::rng()).is_ok()
    }
}

fn verifies_p256(
    key: &PKey<Public>,
    bytes: &[u8],
    signature: &[u8],
) -> Result<bool, openssl::error::ErrorStack> {
    // Another encoding of the same signature would make another envelope.
    if EcdsaSig::from_der(signature)?.to_der()? != signature {
        return Ok(false);
    }
    openssl::sign::Verifier::new(MessageDigest::sha256(), key)?.verify_oneshot(signature, bytes)
}

fn plain_to_der(signature: &[u8]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let (r, s) = signature.split_at(32);
    EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()
}

fn curve(key: &PKey<Public>) -> Option<Nid> {
    key.ec_key().ok()?.group().curve_name()
}

fn kind_name(id: Id) -> &'static str {
    match id {
        Id::RSA => "RSA",
        Id::EC => "a curve other than P-256",
        _ => "neither ed25519 nor P-256",
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.id())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.der))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let der = STANDARD.decode(text).map_err(D::Error::custom)?;
        Self::from_der(&der).map_err(D::Error::custom)
    }
}

/// A private key in memory. It has no `Debug`, so it cannot be printed.
pub struct SigningKey {
    public: PublicKey,
    private: PrivateKind,
}

enum PrivateKind {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(PKey<Private>),
}

impl SigningKey {
    /// Generates an ed25519 key, and returns it with its PEM form.
    pub fn generate() -> Result<(Self, String), SignError> {
        let wrong = |why: String| SignError::Key {
            what: "new key".to_owned(),
            why,
        };
        let key = PKey::generate_ed25519().map_err(|error| wrong(error.to_string()))?;
        let pem = key.private_key_to_pem_pkcs8();
        let pem = pem.map_err(|error| wrong(error.to_string()))?;
        let text = String::from_utf8(pem.clone()).map_err(|error| wrong(error.to_string()))?;
        Ok((Self::from_pem("new key", &pem)?, text))
    }

    /// Reads a PEM file, which only its owner may be able to read.
    pub fn from_file(path: &Path) -> Result<Self, SignError> {
        use std::os::unix::fs::PermissionsExt as _;
        let what = path.display().to_string();
        let failed = |error: std::io::Error| SignError::Key {
            what: what.clone(),
            why: error.to_string(),
        };
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(SignError::Exposed {
                path: path.to_owned(),
            });
        }
        Self::from_pem(&what, &std::fs::read(path).map_err(failed)?)
    }

    /// Parses a private key in PEM. `what` is for errors.
    pub fn from_pem(what: &str, pem: &[u8]) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Key {
            what: what.to_owned(),
            why,
        };
        let openssl_error = |error: openssl::error::ErrorStack| wrong(error.to_string());
        let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0))
            .map_err(|_| wrong("it is not a private key, or it has a password".to_owned()))?;
        let public = key.public_key_to_der().map_err(openssl_error)?;
        let public = PublicKey::from_der(&public).map_err(wrong)?;
        let private = match public.kind {
            Kind::Ed25519(_) => {
                let raw = key.raw_private_key().map_err(openssl_error)?;
                let raw = raw
                    .try_into()
                    .map_err(|_| wrong("it is not an ed25519 key".to_owned()))?;
                PrivateKind::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&raw)))
            }
            Kind::P256(_) => PrivateKind::P256(key),
        };
        Ok(Self { public, private })
    }

    /// Returns the public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.private {
            PrivateKind::Ed25519(key) => Ok(key.sign(bytes).to_bytes().to_vec()),
            PrivateKind::P256(key) => openssl::sign::Signer::new(MessageDigest::sha256(), key)
                .and_then(|mut signer| signer.sign_oneshot_to_vec(bytes))
                .map_err(|error| SignError::Key {
                    what: self.public.id().to_string(),
                    why: error.to_string(),
                }),
        }
    }
}
