//! DSSE envelopes: a payload, its type, and signatures over both.
//! Format: <https://github.com/secure-systems-lab/dsse>, version 1.0. An envelope must also be
//! canonical JSON with padded base64, so that it has only one form.

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

/// The largest envelope, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// A payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The type of the payload.
    pub payload_type: String,
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The signatures. At least one.
    pub signatures: Vec<Signature>,
}

/// A signature, with the id of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The id of the key, as claimed by the envelope.
    pub key: KeyId,
    /// The signature: 64 bytes for ed25519, a DER sequence for P-256.
    pub bytes: Vec<u8>,
}

/// The fields are sorted by name: written in this order they are canonical JSON.
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

/// The same, with the payload as unparsed JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnparsed<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    signatures: Vec<RawSignature>,
}

impl<'a> RawUnparsed<'a> {
    /// Parses without unescaping the payload, most of the envelope: in valid envelopes it is
    /// base64.
    fn read(bytes: &'a [u8]) -> Option<Raw<'a>> {
        let unparsed: Self = canonical::parse_as(bytes, MAX_BYTES)?;
        let payload = unparsed
            .payload
            .get()
            .strip_prefix('"')?
            .strip_suffix('"')?;
        Some(Raw {
            payload: payload.into(),
            payload_type: unparsed.payload_type,
            signatures: unparsed.signatures,
        })
    }
}

impl<'a> Raw<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, SignError> {
        if let Some(raw) = RawUnparsed::read(bytes) {
            return Ok(raw);
        }
        // The slow path, which reports the defect.
        let value = canonical::parse(bytes, MAX_BYTES)?;
        let read = Raw::deserialize(&value);
        Err(SignError::Shape {
            what: "envelope",
            why: match read {
                Ok(_) => "its JSON is not canonical".to_owned(),
                Err(error) => error.to_string(),
            },
        })
    }
}

impl Envelope {
    /// Returns the canonical JSON, the only stored form.
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

    /// Parses stored bytes. Does not check the signatures.
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
            return Err(wrong("it has no signature".to_owned()));
        }
        Ok(Self {
            payload: decode(&raw.payload, "the payload")?,
            payload_type: raw.payload_type.into_owned(),
            signatures,
        })
    }

    /// Returns the bytes that signatures cover: the payload and its type.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// Returns the keys that signed. Fails unless every signature is valid, by a key in `trust`,
    /// and by another key than the others.
    pub fn signers(&self, trust: &Trust) -> Result<BTreeSet<KeyId>, SignError> {
        let signed = self.signed_bytes();
        self.checked_signers(trust, |key, signature| key.verifies(&signed, signature))
    }

    /// Returns the signers of many envelopes, in order. Batching needs a third of the time.
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
        let batch_is_valid = batch.all_valid();
        let each = envelopes.iter();
        each.map(|(envelope, trust)| {
            envelope.checked_signers(trust, |key, signature| {
                (batch_is_valid && Batch::supports(key))
                    || key.verifies(&envelope.signed_bytes(), signature)
            })
        })
        .collect()
    }

    fn checked_signers(
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
                .ok_or_else(|| invalid("is by a key that is not in the trust policy"))?;
            if !verifies(key, &signature.bytes) {
                return Err(invalid("is not valid"));
            }
            if !signers.insert(signature.key) {
                return Err(invalid("occurs twice"));
            }
        }
        Ok(signers)
    }
}

/// Returns the bytes that DSSE signs. The decimal lengths separate type and payload.
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
