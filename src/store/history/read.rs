//! Reading one entry: all that can be found out about it without knowing what came before, but for the policy.
//!
//! So entries can be read by several threads at once. Whether one may follow is for [`super::History`] to say.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use crate::canonical;
use crate::canonical::shape;
use crate::digest::Digest;
use crate::sign::{Envelope, KeyId, Trust};
use crate::store::event::{Entry, MAX_BYTES, ManifestPut, PAYLOAD_TYPE, ParsedPayload};

/// An entry of the log, read and its signatures checked, or why it is none.
pub(in crate::store) struct ReadEntry(Result<Read, String>);

struct Read {
    /// Of its bytes.
    digest: Digest,
    envelope: Envelope,
    /// The version of the policy that the signatures were checked by.
    policy: u64,
    signers: Result<BTreeSet<KeyId>, String>,
    entry: Result<Entry, String>,
}

impl ReadEntry {
    /// Reads entries, each by its bytes, and checks their signatures by `trust`, which is probably the policy in force then.
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
                    digest: Digest::of(bytes),
                    policy: trust.version(),
                    signers: signers.map_err(|error| error.to_string()),
                    entry: parse(&envelope.payload),
                    envelope,
                }
            }))
        })
        .collect()
    }

    /// What it says, where it says something.
    pub fn entry(&self) -> Option<&Entry> {
        self.0.as_ref().ok()?.entry.as_ref().ok()
    }

    /// The digest of its bytes, who signed and what it says. Signatures are checked again where `trust` is another
    /// policy than was thought.
    pub(super) fn admitted_under(
        self,
        trust: &Trust,
    ) -> Result<(Digest, BTreeSet<KeyId>, Entry), String> {
        let read = self.0?;
        let signers = if read.policy == trust.version() {
            read.signers
        } else {
            let signers = read.envelope.signers(trust);
            signers.map_err(|error| error.to_string())
        };
        Ok((read.digest, signers?, read.entry?))
    }
}

fn envelope(bytes: &[u8]) -> Result<Envelope, String> {
    let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
    match envelope.payload_type.as_str() {
        PAYLOAD_TYPE => Ok(envelope),
        other => Err(format!("it holds `{other}`, no event")),
    }
}

/// The event that is signed as `payload`.
pub(in crate::store) fn parse(payload: &[u8]) -> Result<Entry, String> {
    let put: Option<Entry<ManifestPut>> = canonical::read(payload, MAX_BYTES);
    if let Some(put) = put.filter(|put| put.kind == ManifestPut::KIND && put.is_known()) {
        return Ok(put.parsed_payload(ParsedPayload::Put));
    }
    let any: Option<Entry<Value>> = canonical::read(payload, MAX_BYTES);
    if let Some(any) = any {
        return Ok(any.parsed_payload(ParsedPayload::Any));
    }
    // The long way, which finds out what is wrong, and passes over what it does not know.
    let value = canonical::parse(payload, MAX_BYTES).map_err(|error| error.to_string())?;
    shape::check(&value, &[""]).map_err(|error| error.to_string())?;
    let id = value["id"].clone();
    let entry = Entry::<Value>::deserialize(value).map_err(|error| error.to_string())?;
    // There are other ways to write a UUID, none of which was ever written.
    if id != entry.id.to_string() {
        return Err(format!("the id {id} is not in lower case with hyphens"));
    }
    Ok(entry.parsed_payload(ParsedPayload::Any))
}
