//! Parses entries of the log and checks their signatures, without the entries before them.
//! So several threads can read. [`super::History`] decides whether an entry may follow.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use crate::canonical;
use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{Envelope, KeyId, Trust};
use crate::store::event::{Entry, MAX_BYTES, ManifestPut, PAYLOAD_TYPE, ParsedPayload};

/// A parsed entry with checked signatures, or the reason why it is not valid.
pub(in crate::store) struct ReadEntry(Result<Read, String>);

struct Read {
    /// The digest of the entry's bytes.
    digest: Digest,
    envelope: Envelope,
    /// The version of the policy that the signatures were checked under.
    policy: u64,
    signers: Result<BTreeSet<KeyId>, String>,
    entry: Result<Entry, String>,
}

/// An entry with valid signatures.
pub(super) struct VerifiedEntry {
    /// The digest of the entry's bytes.
    pub digest: Digest,
    pub signers: BTreeSet<KeyId>,
    pub entry: Entry,
}

impl ReadEntry {
    /// Parses entries and checks their signatures under `trust`, the policy that is probably in
    /// force.
    pub fn all(entries: &[Vec<u8>], trust: &Trust) -> Vec<Self> {
        let envelopes: Vec<_> = entries.iter().map(|bytes| envelope(bytes)).collect();
        let read = envelopes.iter().flatten();
        let signed: Vec<_> = read.map(|envelope| (envelope, trust)).collect();
        let mut signers = Envelope::signers_of(&signed).into_iter();
        let each = entries.iter().zip(envelopes);
        each.map(|(bytes, envelope)| {
            Self(envelope.map(|envelope| {
                let signers = signers.next().expect("as many as envelopes");
                Read {
                    digest: Digest::hash_bytes(bytes),
                    policy: trust.version(),
                    signers: signers.map_err(|error| error.to_string()),
                    entry: parse(&envelope.payload),
                    envelope,
                }
            }))
        })
        .collect()
    }

    /// Returns the event, if it could be parsed.
    pub fn entry(&self) -> Option<&Entry> {
        self.0.as_ref().ok()?.entry.as_ref().ok()
    }

    /// Returns the entry with its signers. Checks the signatures
    /// again if `trust` is another policy than [`Self::all`] used.
    pub(super) fn verified_by(self, trust: &Trust) -> Result<VerifiedEntry, String> {
        let read = self.0?;
        let signers = if read.policy == trust.version() {
            read.signers
        } else {
            let signers = read.envelope.signers(trust);
            signers.map_err(|error| error.to_string())
        };
        Ok(VerifiedEntry {
            digest: read.digest,
            signers: signers?,
            entry: read.entry?,
        })
    }
}

fn envelope(bytes: &[u8]) -> Result<Envelope, String> {
    let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
    match envelope.payload_type.as_str() {
        PAYLOAD_TYPE => Ok(envelope),
        other => Err(format!("its payload is `{other}`, not an event")),
    }
}

/// Parses the event in `payload`.
pub(in crate::store) fn parse(payload: &[u8]) -> Result<Entry, String> {
    let put: Option<Entry<ManifestPut>> = canonical::parse_as(payload, MAX_BYTES);
    if let Some(put) = put.filter(|put| put.kind == ManifestPut::KIND && put.is_known()) {
        return Ok(put.parsed_payload(ParsedPayload::Put));
    }
    let any: Option<Entry<Value>> = canonical::parse_as(payload, MAX_BYTES);
    if let Some(any) = any {
        return Ok(any.parsed_payload(ParsedPayload::Any));
    }
    // The slow path: it reports the defect, and accepts unknown fields.
    let value = canonical::parse(payload, MAX_BYTES).map_err(|error| error.to_string())?;
    shape::check(&value, &[""]).map_err(|error| error.to_string())?;
    let id = value["id"].clone();
    let entry = Entry::<Value>::deserialize(value).map_err(|error| error.to_string())?;
    // A UUID has other spellings, which this log never contains.
    if id != entry.id.to_string() {
        return Err(format!("the id {id} is not in lower case with hyphens"));
    }
    Ok(entry.parsed_payload(ParsedPayload::Any))
}
