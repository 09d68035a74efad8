//! Pieces of a store that prove themselves apart from it: what `store.json` says, and single entries of the log.
//!
//! In: bytes that somebody took along. Out: the same, read. Deliberately judges no rule and no signature: whoever takes
//! pieces along has to say what they are to prove.

use super::backend::Backend;
use super::event::{Body, Entry, PAYLOAD_TYPE};
use super::history::parse;
use super::log::entry_name;
use super::{MAX_ORIGIN_BYTES, Origin, SCHEMA, STORE_FILE, Store, StoreError};
use crate::canonical;
use crate::digest::{Digest, canonical_json};
use crate::manifest::Moment;
use crate::sign::{Envelope, Trust};

/// What `store.json` says: which store it is, and the policy that its first entry is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    bytes: Vec<u8>,
    trust: Trust,
}

impl Identity {
    /// Reads the bytes of a `store.json`. `of` says whose they are, for messages.
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
        let trust = origin.trust.checked();
        Ok(Self {
            bytes: bytes.to_owned(),
            trust: trust.map_err(|error| wrong(error.to_string()))?,
        })
    }

    /// The very bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their digest, which the first entry of the log is chained to.
    pub fn origin(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The store's first policy.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }
}

/// One entry of the log, read by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number.
    pub seq: u64,
    /// Of the bytes of the entry before; for the first one, of `store.json`.
    pub prev: Digest,
    /// When it was written.
    pub at: Moment,
    /// What it says; none where this version does not know its kind.
    pub body: Option<Body>,
    /// The same, as it is signed.
    pub envelope: Envelope,
}

impl Logged {
    /// Reads an envelope. Says nothing of whether its signatures hold, nor of whether any log has it.
    pub fn read(envelope: Envelope) -> Result<Self, StoreError> {
        let broken = |why: String| StoreError::integrity("log entry", why);
        if envelope.payload_type != PAYLOAD_TYPE {
            let found = &envelope.payload_type;
            return Err(broken(format!("it holds `{found}`, no event")));
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

    /// Of its bytes in the log.
    pub fn digest(&self) -> Digest {
        Digest::of(self.envelope.to_bytes())
    }
}

impl<B: Backend> Store<B> {
    /// What its `store.json` says.
    pub async fn identity(&self) -> Result<Identity, StoreError> {
        let bytes = self.backend.get(STORE_FILE).await?;
        let bytes = bytes.ok_or_else(|| StoreError::integrity(STORE_FILE, "missing"))?;
        let identity = Identity::parse(&bytes, &self.backend.place())?;
        if identity.origin() != self.origin {
            let why = "it was another one when this store was opened";
            return Err(StoreError::integrity(STORE_FILE, why));
        }
        Ok(identity)
    }

    /// Entry `seq` of the log; none where the log ends before it.
    pub async fn logged(&self, seq: u64) -> Result<Option<Logged>, StoreError> {
        let name = entry_name(seq);
        let Some(bytes) = self.backend.get(&name).await? else {
            return Ok(None);
        };
        let broken =
            |error: &dyn std::fmt::Display| StoreError::integrity(&name, error.to_string());
        let envelope = Envelope::parse(&bytes).map_err(|error| broken(&error))?;
        Logged::read(envelope).map(Some)
    }
}
