//! Verifies a detached OpenPGP signature against a pinned primary key.
//! Takes the signed bytes, the signature and the certificate; returns the signer and the time.
//! The caller fetches the files; there is no keyring.

mod certificate;

use std::io::Cursor;

use jiff::{SignedDuration, Timestamp};
use pgp::composed::{Deserializable, DetachedSignature};
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::types::Fingerprint;

use certificate::{Certificate, Signer, has_strong_digest, upper_hex};

/// A verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate's primary fingerprint, 40 upper-case hex digits.
    pub primary_fingerprint: String,
    /// The fingerprint of the key that signed: the primary key or a signing subkey.
    pub signing_fingerprint: String,
    /// The time of signing in the signature.
    pub signed_at: Timestamp,
    /// The certificate's first user id.
    pub signer: String,
}

/// A signature that cannot be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Data that is not OpenPGP, or of another kind than expected.
    #[error("cannot parse {what}: {reason}")]
    Malformed {
        /// The signature or the certificate.
        what: &'static str,
        /// The defect.
        reason: String,
    },
    /// A certificate that is not the pinned one.
    #[error("the primary fingerprint of the certificate is {found}, expected {expected}")]
    OtherCertificate {
        /// The pinned fingerprint.
        expected: String,
        /// The fingerprints in the key file.
        found: String,
    },
    /// A signature by a key that is not in the certificate.
    #[error("the key {issuer} made it, and the certificate {primary} does not have that key")]
    UnknownIssuer {
        /// The key that the signature names.
        issuer: String,
        /// The pinned fingerprint.
        primary: String,
    },
    /// A signature by a revoked key.
    #[error("the key {fingerprint} is revoked")]
    Revoked {
        /// The primary key or the subkey.
        fingerprint: String,
    },
    /// A signature by a key that may not sign.
    #[error("the key {fingerprint} may not sign releases: {reason}")]
    NotEntitled {
        /// The primary key or the subkey.
        fingerprint: String,
        /// The reason.
        reason: &'static str,
    },
    /// A signature by a key that had expired.
    #[error("the key {fingerprint} expired at {expired_at}, before it signed at {signed_at}")]
    Expired {
        /// The primary key or the subkey.
        fingerprint: String,
        /// The expiry of the key, RFC 3339 UTC.
        expired_at: String,
        /// The time of signing, RFC 3339 UTC.
        signed_at: String,
    },
    /// A signature of an unsupported kind.
    #[error("it is {found}; expected {expected}")]
    Unacceptable {
        /// The kind of the signature.
        found: String,
        /// The supported kinds.
        expected: &'static str,
    },
    /// A signature with a time in the future.
    #[error("its time of signing, {signed_at}, is in the future")]
    Future {
        /// The time of signing, RFC 3339 UTC.
        signed_at: String,
    },
    /// A signature with an expiry in the past.
    #[error("the signature expired at {expired_at}")]
    SignatureExpired {
        /// The expiry of the signature, RFC 3339 UTC.
        expired_at: String,
    },
    /// A signature over other bytes.
    #[error("the key {fingerprint} signed other bytes")]
    OtherContent {
        /// The key that the signature names.
        fingerprint: String,
    },
}

impl SignatureError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Malformed {
                what: "the certificate",
                ..
            } => "Export the signer's public key with `gpg --armor --export`.",
            Self::OtherCertificate { .. } => "Use the key file of the signer.",
            Self::Expired { .. } => "Use the signer's renewed key file, if there is one.",
            Self::Future { .. } => "Check the clock of this computer.",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Verifies that a key of the pinned certificate made `signature` over `content`.
///
/// `pin` is the fingerprint of the certificate's primary key, 40 hex digits. The key must have been
/// entitled to sign at the time of signing.
pub fn verify(
    content: &[u8],
    signature: &[u8],
    certificate: &[u8],
    pin: &str,
    now: Timestamp,
) -> Result<Signed, SignatureError> {
    let certificate = Certificate::pinned(certificate, pin)?;
    let signature = parse(signature)?;
    let issuer = issuer(&signature)?;
    let signed_at = signed_at(&signature, now)?;
    let latest = seconds(now + CLOCK_DIFFERENCE);
    let signer = certificate.signer(&issuer, signed_at, latest)?;
    match signer {
        Signer::Primary(key) => signature.verify(key, content),
        Signer::Subkey(key) => signature.verify(key, content),
    }
    .map_err(|_| SignatureError::OtherContent {
        fingerprint: upper_hex(&issuer),
    })?;
    Ok(Signed {
        primary_fingerprint: certificate.fingerprint(),
        signing_fingerprint: upper_hex(&issuer),
        signed_at: timestamp(signed_at.into()),
        signer: certificate.user_id(),
    })
}

/// Parses one detached signature of a supported kind.
fn parse(bytes: &[u8]) -> Result<Signature, SignatureError> {
    let malformed = |reason: String| SignatureError::Malformed {
        what: "the signature",
        reason,
    };
    let (mut signatures, _) = DetachedSignature::from_reader_many(Cursor::new(bytes))
        .map_err(|error| malformed(error.to_string()))?;
    let signature = signatures
        .next()
        .ok_or_else(|| malformed("the file contains no signature".to_owned()))?
        .map_err(|error| malformed(error.to_string()))?
        .signature;
    if signatures.next().is_some() {
        return Err(malformed("data follows the first signature".to_owned()));
    }
    let unacceptable = |found, expected| SignatureError::Unacceptable { found, expected };
    if signature.version() != SignatureVersion::V4 {
        return Err(unacceptable(
            format!("a signature of version {:?}", signature.version()),
            "version 4",
        ));
    }
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(unacceptable(
            signature.typ().map_or_else(
                || "a signature without a type".to_owned(),
                |typ| format!("a signature of type {typ:?}"),
            ),
            "a signature over binary data",
        ));
    }
    if !has_strong_digest(&signature) {
        return Err(unacceptable(
            signature.hash_alg().map_or_else(
                || "a signature without a digest".to_owned(),
                |algorithm| format!("a signature over a {algorithm} digest"),
            ),
            "SHA-256, SHA-384 or SHA-512",
        ));
    }
    Ok(signature)
}

/// Returns the fingerprint of the key that signed, from the signed part of the signature.
fn issuer(signature: &Signature) -> Result<Fingerprint, SignatureError> {
    let unnamed = || SignatureError::Unacceptable {
        found: "a signature that does not name one key by its fingerprint".to_owned(),
        expected: "one issuer fingerprint in the signed part",
    };
    let config = signature.config().ok_or_else(unnamed)?;
    let mut named = config
        .hashed_subpackets()
        .filter_map(|subpacket| match &subpacket.data {
            SubpacketData::IssuerFingerprint(fingerprint) => Some(fingerprint),
            _ => None,
        });
    match (named.next(), named.next()) {
        (Some(fingerprint), None) => Ok(fingerprint.clone()),
        _ => Err(unnamed()),
    }
}

/// Returns the time of signing in seconds since 1970.
/// Fails if it is in the future, or if the signature has expired.
fn signed_at(signature: &Signature, now: Timestamp) -> Result<u32, SignatureError> {
    let made = signature
        .created()
        .ok_or_else(|| SignatureError::Unacceptable {
            found: "a signature without a time".to_owned(),
            expected: "the time of signing in the signed part",
        })?
        .as_secs();
    if made > seconds(now + CLOCK_DIFFERENCE) {
        return Err(SignatureError::Future {
            signed_at: rfc3339(made.into()),
        });
    }
    let lifetime = signature
        .signature_expiration_time()
        .map_or(0, pgp::types::Duration::as_secs);
    let ends = u64::from(made) + u64::from(lifetime);
    if lifetime != 0 && ends <= u64::from(seconds(now)) {
        return Err(SignatureError::SignatureExpired {
            expired_at: rfc3339(ends),
        });
    }
    Ok(made)
}

/// The tolerance for a signer's clock that is fast.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(24);

/// Converts to OpenPGP's seconds since 1970, which end in 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

fn timestamp(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Formats seconds since 1970.
fn rfc3339(seconds: u64) -> String {
    timestamp(seconds).to_string()
}
