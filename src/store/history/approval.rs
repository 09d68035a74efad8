//! The effect of entries, and of approved events among them: what the entry says, and who signed.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Admission, History};
use crate::manifest::{Moment, is_name};
use crate::sign::{KeyId, PublicKey, Trust};
use crate::store::StoreError;
use crate::store::event::{Body, Entry, Proposal, SignedProposal};

/// The effect of an entry.
pub(super) struct Effect {
    pub body: Body,
    /// The keys whose roles count.
    pub signers: BTreeSet<KeyId>,
    /// The id of the proposal that the entry completes.
    pub approved: Option<Uuid>,
}

impl History {
    /// Whether the log has the event of the proposal with this id.
    pub fn is_completed(&self, proposal: Uuid) -> bool {
        self.approved.contains(&proposal)
    }

    /// Returns the effect of an entry, or why it is void.
    pub(super) fn effect(
        &self,
        entry: Entry,
        signers: BTreeSet<KeyId>,
    ) -> Result<Result<Effect, String>, StoreError> {
        let known = entry.is_known();
        let Entry {
            seq, kind, body, ..
        } = entry;
        if !known {
            if entry.critical {
                return Err(StoreError::UnknownEvent { seq, kind });
            }
            return Ok(Err(format!("`{kind}` is not known to this version")));
        }
        if self.contains_event(entry.id) {
            return Ok(Err(format!("the id {} was used before", entry.id)));
        }
        let body = match Body::read(&kind, body) {
            Ok(body) => body,
            Err(why) => return Ok(Err(why)),
        };
        if let Body::ManifestPut(put) = &body
            && !is_name(&put.image)
        {
            return Ok(Err(format!("`{}` is not a valid image name", put.image)));
        }
        let effect = match self.resolved(body, signers) {
            Ok(effect) => effect,
            Err(why) => return Ok(Err(why)),
        };
        Ok(match self.admits(&effect.body, &effect.signers, entry.at) {
            Ok(Admission::New) => Ok(effect),
            Ok(Admission::Unchanged) => Err("the log already has the same event".to_owned()),
            Err(rule) => Err(rule.to_string()),
        })
    }

    /// Returns the event that several keys approved, and these keys. Returns another event as it
    /// is.
    fn resolved(&self, body: Body, signers: BTreeSet<KeyId>) -> Result<Effect, String> {
        let Body::Approved(approved) = body else {
            return Ok(Effect {
                body,
                signers,
                approved: None,
            });
        };
        let id = approved.proposal().id;
        if self.is_completed(id) {
            return Err(format!(
                "the {} was completed before",
                approved.proposal().name()
            ));
        }
        Ok(Effect {
            signers: approved.approvers(self.origin, self.trust())?,
            body: approved.into_body(),
            approved: Some(id),
        })
    }

    /// Checks whether `signers` may append an approved event. Any keys of the policy may: those of
    /// the proposal need the role.
    pub(super) fn admits_approved(
        &self,
        approved: &SignedProposal,
        signers: &BTreeSet<KeyId>,
        at: Moment,
    ) -> Result<Admission, StoreError> {
        if let Some(unknown) = signers.iter().find(|key| self.trust().key(key).is_none()) {
            return Err(StoreError::UnknownKey {
                key: *unknown,
                trusted: self.trust().keys().map(PublicKey::id).collect(),
            });
        }
        let proposal = approved.proposal();
        if self.is_completed(proposal.id) {
            return Ok(Admission::Unchanged);
        }
        let approvers = approved.approvers(self.origin, self.trust());
        let approvers = approvers.map_err(|why| StoreError::refused(proposal.name(), why))?;
        self.admits(&proposal.body, &approvers, at)
    }

    /// Checks a proposal as if every key that may sign it had signed.
    pub(in crate::store) fn check_open(
        &self,
        proposal: &Proposal,
        at: Moment,
    ) -> Result<(), StoreError> {
        let refused = |why: String, hint: &str| StoreError::Refused {
            what: proposal.name(),
            why,
            hint: Some(hint.to_owned()),
        };
        if proposal.store != self.origin {
            return Err(refused(
                format!("it is for another store, {}", proposal.store),
                "Name its store with --store.",
            ));
        }
        if proposal.policy != self.trust().digest() {
            let of = |(_, trust): &&(u64, Trust)| trust.digest() == proposal.policy;
            let old = self.policies().iter().find(of);
            let old = old.map_or("another".to_owned(), |(_, trust)| {
                format!("version {}", trust.version())
            });
            return Err(refused(
                format!(
                    "it was made under {old} of the trust policy, and version {} is in force",
                    self.trust().version()
                ),
                "Make the proposal again, with the same command.",
            ));
        }
        let all = proposal.possible_signers(self.trust());
        match self.admits(&proposal.body, &all, at)? {
            Admission::New => Ok(()),
            Admission::Unchanged => Err(refused(
                "the log already has the same event".to_owned(),
                "Run `vault-bake proposals` to list those that are open.",
            )),
        }
    }
}
