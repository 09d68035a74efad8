//! Reading one entry: all that can be found out about it without knowing what came before, but for the policy.
//!
//! So entries can be read by several threads at once. Whether one may follow is for [`super::History`] to say.

use std::collections::BTreeSet;

use serde::Deserialize as _;

use crate::canonical;
use crate::digest::Digest;
use crate::manifest::shape;
use crate::sign::{Envelope, KeyId, Trust};
use crate::store::event::{Entry, MAX_BYTES, PAYLOAD_TYPE};

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
    /// Reads `bytes`, and checks the signatures by `trust`, which is probably the policy in force then.
    pub fn of(bytes: &[u8], trust: &Trust) -> Self {
        Self(Read::of(bytes, trust))
    }

    /// What it says, where it says something.
    pub fn entry(&self) -> Option<&Entry> {
        self.0.as_ref().ok()?.entry.as_ref().ok()
    }

    /// The digest of its bytes, who signed and what it says. Signatures are checked again where `trust` is another
    /// policy than was thought.
    pub(super) fn judged_by(
        self,
        trust: &Trust,
    ) -> Result<(Digest, BTreeSet<KeyId>, Entry), String> {
        let read = self.0?;
        let signers = if read.policy == trust.version() {
            read.signers
        } else {
            signers(&read.envelope, trust)
        };
        Ok((read.digest, signers?, read.entry?))
    }
}

impl Read {
    fn of(bytes: &[u8], trust: &Trust) -> Result<Self, String> {
        let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(format!("it holds `{}`, no event", envelope.payload_type));
        }
        Ok(Self {
            digest: Digest::of(bytes),
            policy: trust.version(),
            signers: signers(&envelope, trust),
            entry: parse(&envelope.payload),
            envelope,
        })
    }
}

fn signers(envelope: &Envelope, trust: &Trust) -> Result<BTreeSet<KeyId>, String> {
    envelope.signers(trust).map_err(|error| error.to_string())
}

/// The event that is signed as `payload`.
pub(in crate::store) fn parse(payload: &[u8]) -> Result<Entry, String> {
    let value = canonical::parse(payload, MAX_BYTES).map_err(|error| error.to_string())?;
    shape::check(&value, &[""]).map_err(|error| error.to_string())?;
    let id = value["id"].clone();
    let entry = Entry::deserialize(value).map_err(|error| error.to_string())?;
    // There are other ways to write a UUID, none of which was ever written.
    if id != entry.id.to_string() {
        return Err(format!("the id {id} is not in lower case with hyphens"));
    }
    Ok(entry)
}
