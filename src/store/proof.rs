//! Parts of a store that can be verified apart from it: `store.json` and single log entries.
//! Reads and parses them. The caller checks signatures and rules.

use std::collections::BTreeSet;

use super::backend::Backend;
use super::event::entry_name;
use super::event::{Body, Entry, PAYLOAD_TYPE};
use super::history::parse;
use super::{MAX_ORIGIN_BYTES, Origin, SCHEMA, STORE_FILE, Store, StoreError};
use crate::canonical;
use crate::digest::{Digest, canonical_json};
use crate::manifest::Moment;
use crate::sign::{Envelope, KeyId, Trust};

/// The content of `store.json`: the identity of a store, and its first trust policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    bytes: Vec<u8>,
    trust: Trust,
}

impl StoreIdentity {
    /// Parses the bytes of a `store.json`. `of` is the location, for messages.
    pub fn parse(bytes: &[u8], of: &str) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::integrity(STORE_FILE, why);
        let value = canonical::parse(bytes, MAX_ORIGIN_BYTES);
        let value = value.map_err(|error| wrong(error.to_string()))?;
        let schema = value["schema"].as_str().unwrap_or_default();
        if schema != SCHEMA {
            return Err(StoreError::Schema {
                of: of.to_owned(),
                schema: schema.to_owned(),
            });
        }
        let origin: Origin =
            serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if canonical_json(&origin) != bytes {
            return Err(wrong(
                "it has fields that this version does not know".to_owned(),
            ));
        }
        let trust = origin.trust.validated();
        Ok(Self {
            bytes: bytes.to_owned(),
            trust: trust.map_err(|error| wrong(error.to_string()))?,
        })
    }

    /// Returns the unchanged bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the digest of the bytes, which the first log entry refers to.
    pub fn origin(&self) -> Digest {
        Digest::hash_bytes(&self.bytes)
    }

    /// Returns the first trust policy of the store.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }
}

/// One log entry, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The number of the entry.
    pub seq: u64,
    /// The digest of the entry before. For the first entry, the digest of `store.json`.
    pub prev: Digest,
    /// The time of the entry.
    pub at: Moment,
    /// The event. `None` if this version does not know its kind.
    pub body: Option<Body>,
    /// The signed envelope.
    pub envelope: Envelope,
}

impl LogEntry {
    /// Parses an envelope. Checks neither its signatures nor whether a log contains it.
    pub fn parse(envelope: Envelope) -> Result<Self, StoreError> {
        let broken = |why: String| StoreError::integrity("log entry", why);
        if envelope.payload_type != PAYLOAD_TYPE {
            let found = &envelope.payload_type;
            return Err(broken(format!("its payload is `{found}`, not an event")));
        }
        let entry = parse(&envelope.payload).map_err(broken)?;
        let known = entry.is_known();
        let Entry {
            seq, kind, body, ..
        } = entry;
        let body = if known {
            Some(Body::read(&kind, body).map_err(broken)?)
        } else if entry.critical {
            return Err(StoreError::UnknownEvent { seq, kind });
        } else {
            None
        };
        let (prev, at) = (entry.prev, entry.at);
        Ok(Self {
            seq,
            prev,
            at,
            body,
            envelope,
        })
    }

    /// Returns the event that has the effect, if this version knows its kind.
    pub fn effective(&self) -> Option<&Body> {
        self.body.as_ref().map(Body::effective)
    }

    /// Returns the keys whose roles count for the event, under the policy in force at it: those
    /// that signed the entry, or the proposal in it. `origin` is the digest of `store.json`.
    pub fn signers(&self, origin: Digest, trust: &Trust) -> Result<BTreeSet<KeyId>, String> {
        let signers = self.envelope.signers(trust);
        let signers = signers.map_err(|error| error.to_string())?;
        match &self.body {
            Some(Body::Approved(approved)) => approved.approvers(origin, trust),
            _ => Ok(signers),
        }
    }

    /// Returns the digest of the entry's bytes.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.envelope.to_bytes())
    }
}

impl<B: Backend> Store<B> {
    /// Reads `store.json`, and checks that it has not changed since the store was opened.
    pub async fn identity(&self) -> Result<StoreIdentity, StoreError> {
        let bytes = self.backend.get(STORE_FILE).await?;
        let bytes = bytes.ok_or_else(|| StoreError::integrity(STORE_FILE, "missing"))?;
        let identity = StoreIdentity::parse(&bytes, &self.backend.location())?;
        if identity.origin() != self.origin {
            let why = "it has changed since the store was opened";
            return Err(StoreError::integrity(STORE_FILE, why));
        }
        Ok(identity)
    }

    /// Reads entry `seq` of the log; `None` if the log is shorter.
    pub async fn log_entry(&self, seq: u64) -> Result<Option<LogEntry>, StoreError> {
        let name = entry_name(seq);
        let Some(bytes) = self.backend.get(&name).await? else {
            return Ok(None);
        };
        let broken =
            |error: &dyn std::fmt::Display| StoreError::integrity(&name, error.to_string());
        let envelope = Envelope::parse(&bytes).map_err(|error| broken(&error))?;
        LogEntry::parse(envelope).map(Some)
    }
}
