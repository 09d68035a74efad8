//! DSSE envelopes: bytes, what they are, and signatures over both.
//!
//! Format and encoding: <https://github.com/secure-systems-lab/dsse>, version 1.0. Stricter than the format in one
//! place: an envelope is canonical JSON with padded base64, so that one envelope has one form.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::SignError;
use super::key::KeyId;
use super::trust::Trust;
use crate::canonical;
use crate::digest::canonical_json;

/// No envelope is larger than this, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// Signed bytes, with who signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The bytes that are signed.
    pub payload: Vec<u8>,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// A signature and whose it is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which key to try.
    pub key: KeyId,
    /// For ed25519 64 bytes, for P-256 a DER sequence.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    keyid: KeyId,
    sig: String,
}

impl Envelope {
    /// The canonical JSON, the only form that is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(&Raw {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|signature| RawSignature {
                    keyid: signature.key,
                    sig: STANDARD.encode(&signature.bytes),
                })
                .collect(),
        })
    }

    /// Reads stored bytes; says nothing of whether the signatures hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let wrong = |why: String| SignError::Shape {
            what: "envelope",
            why,
        };
        let value = canonical::parse(bytes, MAX_BYTES)?;
        let raw: Raw = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        let decode = |text: &str, what: &str| {
            STANDARD
                .decode(text)
                .map_err(|error| wrong(format!("{what} is not base64: {error}")))
        };
        let mut signatures = Vec::new();
        for signature in &raw.signatures {
            signatures.push(Signature {
                key: signature.keyid,
                bytes: decode(&signature.sig, "a signature")?,
            });
        }
        if signatures.is_empty() {
            return Err(wrong("nobody signed it".to_owned()));
        }
        let envelope = Self {
            payload: decode(&raw.payload, "the payload")?,
            payload_type: raw.payload_type,
            signatures,
        };
        // A list in the place of an object would be read as well.
        if envelope.to_bytes() == bytes {
            Ok(envelope)
        } else {
            Err(wrong("it is written in another way".to_owned()))
        }
    }

    /// What was signed: the payload and its type.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// The keys that signed it. Every signature has to hold and be by a key that `trust` knows, each key once: a
    /// damaged signature is never passed over for a good one.
    pub fn signers(&self, trust: &Trust) -> Result<BTreeSet<KeyId>, SignError> {
        let signed = self.signed_bytes();
        let mut signers = BTreeSet::new();
        for signature in &self.signatures {
            let invalid = |why| SignError::Invalid {
                key: signature.key.to_string(),
                why,
            };
            let key = trust
                .key(&signature.key)
                .ok_or_else(|| invalid("is by nobody whom the trust policy knows"))?;
            if !key.verifies(&signed, &signature.bytes) {
                return Err(invalid("does not hold"));
            }
            if !signers.insert(signature.key) {
                return Err(invalid("is there twice"));
            }
        }
        Ok(signers)
    }
}

/// The bytes that DSSE signs: lengths in decimal keep type and payload apart.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}
