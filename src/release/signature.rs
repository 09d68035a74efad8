//! Verifies a detached OpenPGP signature against a pinned primary key.
//!
//! In: the signed bytes, the signature and the certificate (both armoured or binary), the primary fingerprint, the
//! time now. Out: who signed, and when. Deliberately keeps no keyring and fetches nothing.

use std::io::Cursor;

use jiff::{SignedDuration, Timestamp};
use pgp::composed::{Deserializable, DetachedSignature};
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::types::Fingerprint;

use super::certificate::{Certificate, Signer, strong, upper_hex};

/// Who signed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate's primary fingerprint, 40 upper-case hex digits.
    pub primary_fingerprint: String,
    /// The fingerprint of the key that signed: the primary or a signing subkey.
    pub signing_fingerprint: String,
    /// When, as the signature itself says.
    pub signed_at: Timestamp,
    /// The certificate's first user id.
    pub signer: String,
}

/// A signature that does not show what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not OpenPGP data, or not the kind that was expected.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// The signature or the certificate.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The certificate is another one than the pinned one.
    #[error(
        "the certificate's primary fingerprint is {found}, expected {expected}; give the signer's own key file"
    )]
    OtherCertificate {
        /// The pin.
        expected: String,
        /// What is in the file.
        found: String,
    },
    /// The signature names none of the certificate's keys.
    #[error("it was made by the key {issuer}, which is none of the certificate {primary}")]
    UnknownIssuer {
        /// The key that the signature names.
        issuer: String,
        /// The pin.
        primary: String,
    },
    /// The key was revoked.
    #[error("the key {fingerprint} is revoked")]
    Revoked {
        /// The primary key or the subkey.
        fingerprint: String,
    },
    /// The key may not sign.
    #[error("the key {fingerprint} may not sign releases: {reason}")]
    NotEntitled {
        /// The primary key or the subkey.
        fingerprint: String,
        /// Why not.
        reason: &'static str,
    },
    /// The key had expired when it signed.
    #[error(
        "the key {fingerprint} expired at {expired_at}, before it signed at {signed_at}; a renewed key file may say otherwise"
    )]
    Expired {
        /// The primary key or the subkey.
        fingerprint: String,
        /// When it expired, RFC 3339 UTC.
        expired_at: String,
        /// When the signature was made, RFC 3339 UTC.
        signed_at: String,
    },
    /// The signature is of a kind that is not accepted.
    #[error("it is {found}; expected {expected}")]
    Unacceptable {
        /// What it is.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// The signature says that it will be made later.
    #[error("it was made at {signed_at}, which is in the future; is this machine's clock right?")]
    Future {
        /// When the signature was made, RFC 3339 UTC.
        signed_at: String,
    },
    /// The signature itself says that it is no longer valid.
    #[error("it expired by itself at {expired_at}")]
    SignatureExpired {
        /// When it ended, RFC 3339 UTC.
        expired_at: String,
    },
    /// The key did not sign these bytes.
    #[error("it does not match: these are not the bytes that the key {fingerprint} signed")]
    Wrong {
        /// The key that should have.
        fingerprint: String,
    },
}

/// Verifies that `signature` over `content` was made by the certificate whose primary key has the fingerprint `pin`
/// (40 hex digits), by a key that was entitled to sign when it did.
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
    .map_err(|_| SignatureError::Wrong {
        fingerprint: upper_hex(&issuer),
    })?;
    Ok(Signed {
        primary_fingerprint: certificate.fingerprint(),
        signing_fingerprint: upper_hex(&issuer),
        signed_at: timestamp(signed_at.into()),
        signer: certificate.user_id(),
    })
}

/// One detached signature, of a kind that is accepted at all.
fn parse(bytes: &[u8]) -> Result<Signature, SignatureError> {
    let malformed = |reason: String| SignatureError::Malformed {
        what: "the signature",
        reason,
    };
    let (mut signatures, _) = DetachedSignature::from_reader_many(Cursor::new(bytes))
        .map_err(|error| malformed(error.to_string()))?;
    let signature = signatures
        .next()
        .ok_or_else(|| malformed("there is none in the file".to_owned()))?
        .map_err(|error| malformed(error.to_string()))?
        .signature;
    if signatures.next().is_some() {
        return Err(malformed(
            "there is something behind the first signature".to_owned(),
        ));
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
    if !strong(&signature) {
        return Err(unacceptable(
            signature.hash_alg().map_or_else(
                || "a signature without a digest".to_owned(),
                |algorithm| format!("taken over a digest by {algorithm}"),
            ),
            "SHA-256, SHA-384 or SHA-512",
        ));
    }
    Ok(signature)
}

/// The full fingerprint of the key that signed, as the signed part of the signature names it.
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

/// When the signature was made, in seconds since 1970; neither in the future nor so long ago that it ended.
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

/// How far a signer's clock may be ahead of ours.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(24);

/// Seconds since 1970 as OpenPGP counts them: from 1970 to 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

fn timestamp(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A time in seconds since 1970 as text.
pub(super) fn rfc3339(seconds: u64) -> String {
    timestamp(seconds).to_string()
}
