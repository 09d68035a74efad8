//! DSSE envelopes: bytes, what they are, and signatures over both.
//!
//! Format and encoding: <https://github.com/secure-systems-lab/dsse>, version 1.0. Stricter than the format in one
//! place: an envelope is canonical JSON with padded base64, so that one envelope has one form.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SignError;
use super::key::{Batch, KeyId, PublicKey};
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

/// Fields stand in the order of their names, so that the plain writer writes the canonical form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    keyid: KeyId,
    sig: String,
}

/// The same, its payload as it stands there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    signatures: Vec<RawSignature>,
}

impl<'a> Bare<'a> {
    /// Most of an envelope is its payload, which needs no look at each character: it is base64 or nothing.
    fn read(bytes: &'a [u8]) -> Option<Raw<'a>> {
        let bare: Self = canonical::read(bytes, MAX_BYTES)?;
        let payload = bare.payload.get().strip_prefix('"')?.strip_suffix('"')?;
        Some(Raw {
            payload: payload.into(),
            payload_type: bare.payload_type,
            signatures: bare.signatures,
        })
    }
}

impl<'a> Raw<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, SignError> {
        if let Some(raw) = Bare::read(bytes) {
            return Ok(raw);
        }
        // The long way, which finds out what is wrong.
        let value = canonical::parse(bytes, MAX_BYTES)?;
        let read = Raw::deserialize(&value);
        Err(SignError::Shape {
            what: "envelope",
            why: match read {
                Ok(_) => "it is written in another way".to_owned(),
                Err(error) => error.to_string(),
            },
        })
    }
}

impl Envelope {
    /// The canonical JSON, the only form that is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(&Raw {
            payload: STANDARD.encode(&self.payload).into(),
            payload_type: self.payload_type.as_str().into(),
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
        let raw = Raw::read(bytes)?;
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
        Ok(Self {
            payload: decode(&raw.payload, "the payload")?,
            payload_type: raw.payload_type.into_owned(),
            signatures,
        })
    }

    /// What was signed: the payload and its type.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// The keys that signed it. Every signature has to hold and be by a key that `trust` knows, each key once: a
    /// damaged signature is never passed over for a good one.
    pub fn signers(&self, trust: &Trust) -> Result<BTreeSet<KeyId>, SignError> {
        let signed = self.signed_bytes();
        self.signers_if(trust, |key, signature| key.verifies(&signed, signature))
    }

    /// The same of many envelopes, in their order, in a third of the time.
    pub(crate) fn signers_of(
        envelopes: &[(&Self, &Trust)],
    ) -> Vec<Result<BTreeSet<KeyId>, SignError>> {
        let mut batch = Batch::default();
        let mut signed = Vec::new();
        for (envelope, trust) in envelopes {
            signed.clear();
            encode(&envelope.payload_type, &envelope.payload, &mut signed);
            for signature in &envelope.signatures {
                if let Some(key) = trust.key(&signature.key) {
                    batch.add(key, &signed, &signature.bytes);
                }
            }
        }
        let holds = batch.holds();
        let each = envelopes.iter();
        each.map(|(envelope, trust)| {
            envelope.signers_if(trust, |key, signature| {
                (holds && Batch::takes(key)) || key.verifies(&envelope.signed_bytes(), signature)
            })
        })
        .collect()
    }

    fn signers_if(
        &self,
        trust: &Trust,
        verifies: impl Fn(&PublicKey, &[u8]) -> bool,
    ) -> Result<BTreeSet<KeyId>, SignError> {
        let mut signers = BTreeSet::new();
        for signature in &self.signatures {
            let invalid = |why| SignError::Invalid {
                key: signature.key.to_string(),
                why,
            };
            let key = trust
                .key(&signature.key)
                .ok_or_else(|| invalid("is by nobody whom the trust policy knows"))?;
            if !verifies(key, &signature.bytes) {
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
    let mut bytes = Vec::new();
    encode(payload_type, payload, &mut bytes);
    bytes
}

fn encode(payload_type: &str, payload: &[u8], into: &mut Vec<u8>) {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    into.extend_from_slice(head.as_bytes());
    into.extend_from_slice(payload);
}
