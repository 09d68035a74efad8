//! Proposals: events that several people sign before the log has them.
//! Takes and returns signed envelopes, in a store or in files. Each signature covers the event, the
//! store and the trust policy in force. The rules are in [`crate::store::history`].

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use super::{Body, MAX_BYTES, ParsedPayload};
use crate::canonical;
use crate::digest::{Digest, canonical_json};
use crate::manifest::Moment;
use crate::sign::{Envelope, KeyId, Role, Shortage, SignError, Signature, Signer, Trust, sign};
use crate::store::StoreError;
use crate::wait::Interrupt;

/// The schema of new proposals.
pub const PROPOSAL_SCHEMA: &str = "https://vault-bake.dev/proposal/v1";

/// The payload type of a proposal in its envelope.
pub const PROPOSAL_PAYLOAD_TYPE: &str = "application/vnd.vault-bake.proposal+json";

/// An event that is not in the log yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The digest of `store.json` of the store that the event is for.
    pub store: Digest,
    /// The digest of the trust policy that was in force.
    pub policy: Digest,
    /// A random id: the log can have the event once.
    pub id: Uuid,
    /// The time of the proposal.
    pub at: Moment,
    /// The event: a move of a channel, a revocation, its withdrawal, or a trust policy.
    pub body: Body,
}

/// The fields are sorted by name: written in this order they are canonical JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    at: Moment,
    body: Value,
    id: Uuid,
    kind: String,
    policy: Digest,
    schema: String,
    store: Digest,
}

/// Keys that must sign together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The role.
    pub role: Role,
    /// `image:channel`, `this store` or `the new policy`.
    pub of: String,
    /// The keys that signed, those that have the role, and how many must sign.
    pub shortage: Shortage,
    /// The keys that can still sign: a key must be in the policy in force.
    pub open: BTreeSet<KeyId>,
}

impl Requirement {
    fn new(role: Role, of: String, shortage: Shortage, trust: &Trust) -> Self {
        let open = shortage.trusted.difference(&shortage.signed).copied();
        Self {
            role,
            of,
            open: open.filter(|key| trust.key(key).is_some()).collect(),
            shortage,
        }
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            role,
            of,
            shortage,
            open,
        } = self;
        let open: Vec<String> = open.iter().map(KeyId::to_string).collect();
        let (count, threshold) = (shortage.count(), shortage.threshold);
        write!(f, "{count} of {threshold} signatures as {role} for {of}")?;
        match (shortage.is_met(), open.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => write!(f, "; no other key has the role"),
            (false, false) => write!(f, "; not yet by {}", open.join(", ")),
        }
    }
}

fn wrong(why: impl Into<String>) -> SignError {
    SignError::Shape {
        what: "proposal",
        why: why.into(),
    }
}

/// Whether several keys can sign the event together.
pub(in crate::store) fn is_proposable(body: &Body) -> bool {
    matches!(
        body,
        Body::ChannelSet(_) | Body::Revoke(_) | Body::Restore { .. } | Body::TrustUpdate { .. }
    )
}

impl Proposal {
    /// Returns the canonical JSON, the only form that is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tagged = serde_json::json!(self.body);
        canonical_json(&Raw {
            at: self.at,
            body: tagged["body"].clone(),
            id: self.id,
            kind: tagged["kind"].as_str().unwrap_or_default().to_owned(),
            policy: self.policy,
            schema: PROPOSAL_SCHEMA.to_owned(),
            store: self.store,
        })
    }

    /// Parses signed bytes. Fails if this version would not show all of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let value = canonical::parse(bytes, MAX_BYTES)?;
        let raw: Raw = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if raw.schema != PROPOSAL_SCHEMA {
            let schema = raw.schema;
            return Err(wrong(format!(
                "schema `{schema}`, expected `{PROPOSAL_SCHEMA}`"
            )));
        }
        let kind = raw.kind;
        // Checked before the body is read, which could contain a proposal again.
        if !["channel.set", "revoke", "restore", "trust.update"].contains(&kind.as_str()) {
            return Err(wrong(format!("a `{kind}` cannot be proposed")));
        }
        let proposal = Self {
            store: raw.store,
            policy: raw.policy,
            id: raw.id,
            at: raw.at,
            body: Body::read(&kind, ParsedPayload::Any(raw.body)).map_err(wrong)?,
        };
        if proposal.to_bytes() != bytes {
            return Err(wrong("it has fields that this version does not know"));
        }
        Ok(proposal)
    }

    /// Returns the digest of the signed bytes, which names the proposal.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.to_bytes())
    }

    /// Returns `proposal` and the first digits of the digest, for messages.
    pub fn name(&self) -> String {
        format!("proposal {}", self.digest().short())
    }

    /// Returns the role that the event needs, and what `signers` have of it.
    fn requirement(&self, trust: &Trust, signers: &BTreeSet<KeyId>) -> Requirement {
        let (role, scope) = (self.body.role(), Scope::of(&self.body));
        let shortage = trust.shortage(role, signers, scope.image, scope.channel);
        Requirement::new(role, scope.name(), shortage, trust)
    }

    /// Returns what `signers` must have under `trust`, the policy in force. A trust policy must
    /// also be signed by its own roots.
    pub fn requirements(&self, trust: &Trust, signers: &BTreeSet<KeyId>) -> Vec<Requirement> {
        let mut all = vec![self.requirement(trust, signers)];
        if let Body::TrustUpdate { trust: new } = &self.body {
            let shortage = new.shortage(Role::Root, signers, "", None);
            let of = "the new policy".to_owned();
            all.push(Requirement::new(Role::Root, of, shortage, trust));
        }
        all
    }

    /// Returns the keys of `trust` that may sign the event, alone or with others.
    pub fn possible_signers(&self, trust: &Trust) -> BTreeSet<KeyId> {
        let (role, scope) = (self.body.role(), Scope::of(&self.body));
        let mut keys = trust.holders(role, scope.image, scope.channel);
        if let Body::TrustUpdate { trust: new } = &self.body {
            keys.extend(new.holders(role, "", None));
        }
        // A signature by a key that is not in the policy cannot be checked.
        keys.retain(|key| trust.key(key).is_some());
        keys
    }
}

/// The image and the channel that a grant must cover.
struct Scope<'a> {
    image: &'a str,
    channel: Option<&'a str>,
}

impl<'a> Scope<'a> {
    fn of(body: &'a Body) -> Self {
        match body {
            Body::ChannelSet(set) => Self {
                image: &set.image,
                channel: Some(&set.channel),
            },
            _ => Self {
                image: "",
                channel: None,
            },
        }
    }

    fn name(&self) -> String {
        match self.channel {
            None => "this store".to_owned(),
            Some(channel) => format!("{}:{channel}", self.image),
        }
    }
}

/// A proposal with its signatures so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedProposal {
    proposal: Box<Proposal>,
    signatures: Vec<Signature>,
}

impl SignedProposal {
    /// Takes a proposal without signatures.
    pub fn new(proposal: Proposal) -> Self {
        Self {
            proposal: Box::new(proposal),
            signatures: Vec::new(),
        }
    }

    /// Parses an envelope, for example a file. Does not check the signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.payload_type != PROPOSAL_PAYLOAD_TYPE {
            let found = envelope.payload_type;
            return Err(wrong(format!("its payload is `{found}`")));
        }
        Ok(Self {
            proposal: Box::new(Proposal::parse(&envelope.payload)?),
            signatures: envelope.signatures,
        })
    }

    /// Returns the proposal.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// Returns the event.
    pub(in crate::store) fn into_body(self) -> Body {
        self.proposal.body
    }

    /// Returns the signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the ids of the keys that signed, as claimed.
    pub fn signed_by(&self) -> BTreeSet<KeyId> {
        self.signatures.iter().map(|one| one.key).collect()
    }

    /// Returns the envelope. Without a signature, it cannot be parsed again.
    pub fn envelope(&self) -> Envelope {
        Envelope {
            payload_type: PROPOSAL_PAYLOAD_TYPE.to_owned(),
            payload: self.proposal.to_bytes(),
            signatures: self.signatures.clone(),
        }
    }

    /// Adds a signature, unless its key has signed. The order of the keys gives the bytes one form.
    pub fn add(&mut self, signature: Signature) {
        let at = self
            .signatures
            .binary_search_by_key(&signature.key, |one| one.key);
        if let Err(at) = at {
            self.signatures.insert(at, signature);
        }
    }

    /// Returns the proposal with signatures of `signers` added. Fails if a key must not sign it
    /// under `trust`, the policy in force. A key that has signed does not sign again.
    pub async fn with_signatures(
        mut self,
        signers: &[Signer],
        trust: &Trust,
        interrupt: &Interrupt,
    ) -> Result<Self, StoreError> {
        let possible = self.proposal.possible_signers(trust);
        for signer in signers {
            let key = signer.public().id();
            if !possible.contains(&key) {
                return Err(self.refused_key(key, trust));
            }
            if self.signed_by().contains(&key) {
                continue;
            }
            let payload = self.proposal.to_bytes();
            let signer = std::slice::from_ref(signer);
            let made = sign(PROPOSAL_PAYLOAD_TYPE, payload, signer, interrupt).await?;
            made.signatures.into_iter().for_each(|one| self.add(one));
        }
        Ok(self)
    }

    fn refused_key(&self, key: KeyId, trust: &Trust) -> StoreError {
        let requirement = self.proposal.requirement(trust, &BTreeSet::from([key]));
        let Requirement {
            role, of, shortage, ..
        } = requirement;
        StoreError::NotAllowed { role, of, shortage }
    }

    /// Returns what is missing under `trust`, the policy in force.
    pub fn missing(&self, trust: &Trust) -> Vec<Requirement> {
        let all = self.proposal.requirements(trust, &self.signed_by());
        all.into_iter()
            .filter(|one| !one.shortage.is_met())
            .collect()
    }

    /// Returns the keys that signed. Fails unless each signature is valid, by a key of `trust`, and
    /// by another key than the others.
    pub fn signers(&self, trust: &Trust) -> Result<BTreeSet<KeyId>, SignError> {
        self.envelope().signers(trust)
    }

    /// Returns the signers of an approved event in the store `origin`, or why it has no effect
    /// under `trust`.
    pub(crate) fn approvers(
        &self,
        origin: Digest,
        trust: &Trust,
    ) -> Result<BTreeSet<KeyId>, String> {
        let Proposal { store, policy, .. } = self.proposal();
        if *store != origin {
            return Err(format!("the proposal is for the store {store}"));
        }
        if *policy != trust.digest() {
            return Err(format!(
                "the proposal names the trust policy {policy}, version {} is in force",
                trust.version()
            ));
        }
        self.signers(trust).map_err(|error| error.to_string())
    }
}

impl Serialize for SignedProposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let bytes = self.envelope().to_bytes();
        let value: Value = serde_json::from_slice(&bytes).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedProposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        Self::parse(&canonical_json(&value)).map_err(D::Error::custom)
    }
}
