//! Proposals in a store: stores signatures, lists them, and appends the event that enough keys
//! signed. Each signature is a file of its own, so that signers need no lock.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::backend::{Backend, Created};
use super::event::{Body, Proposal, Requirement, SignedProposal, is_proposable};
use super::history::History;
use super::{Store, StoreError, new_id};
use crate::digest::Digest;
use crate::sign::{Envelope, SignError};

/// The folder of the proposals.
const PROPOSALS: &str = "proposals/";

/// The smallest number of hex digits that name a proposal.
const SHORTEST_HEX: usize = 6;

/// A proposal of a store.
#[derive(Debug)]
pub struct StoredProposal {
    /// The proposal, with the signatures that are valid under the policy that it names.
    pub signed: SignedProposal,
    /// Files with signatures that do not count, each with the reason.
    pub ignored: Vec<(String, SignError)>,
}

impl<B: Backend> Store<B> {
    /// Proposes an event: signs it with this store's signers, and stores it for others to sign.
    pub async fn propose(&self, body: Body, now: Timestamp) -> Result<SignedProposal, StoreError> {
        if !is_proposable(&body) {
            let kind = serde_json::json!(body)["kind"].clone();
            let kind = kind.as_str().unwrap_or_default();
            return Err(StoreError::NotProposable(kind.to_owned()));
        }
        let history = self.history().await?;
        let proposal = Proposal {
            store: self.origin,
            policy: history.trust().digest(),
            id: new_id(now),
            at: now.into(),
            body,
        };
        self.sign_with(SignedProposal::new(proposal), &history, now)
            .await
    }

    /// Adds the signatures of this store's signers to a proposal, and stores all its signatures. A
    /// key that has signed does not sign again.
    pub async fn sign_proposal(
        &self,
        signed: SignedProposal,
        now: Timestamp,
    ) -> Result<SignedProposal, StoreError> {
        let history = self.history().await?;
        self.sign_with(signed, &history, now).await
    }

    async fn sign_with(
        &self,
        signed: SignedProposal,
        history: &History,
        now: Timestamp,
    ) -> Result<SignedProposal, StoreError> {
        if self.signers.is_empty() {
            return Err(StoreError::NoSigner);
        }
        self.check_proposal(history, &signed, now).await?;
        let signed = signed
            .with_signatures(&self.signers, history.trust(), &self.interrupt)
            .await?;
        let folder = folder_of(signed.proposal());
        for signature in signed.signatures() {
            let envelope = Envelope {
                signatures: vec![signature.clone()],
                ..signed.envelope()
            };
            let bytes = envelope.to_bytes();
            let name = format!("{folder}{}", Digest::hash_bytes(&bytes).hex());
            let _: Created = self.backend.create(&name, &bytes).await?;
        }
        Ok(signed)
    }

    /// Checks that a proposal is for this store and its present state, that each signature is
    /// valid, and that the event would be accepted once enough keys have signed.
    pub async fn check_proposal(
        &self,
        history: &History,
        signed: &SignedProposal,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let proposal = signed.proposal();
        history.check_open(proposal, now.into())?;
        signed.signers(history.trust())?;
        if let Body::ChannelSet(set) = &proposal.body {
            let all = self.share().for_proposals();
            all.check_target(history, history.known(&set.to)?, set, now)
                .await?;
        }
        Ok(())
    }

    /// Appends the event of a proposal that enough keys signed. Does nothing if the log has it. Any
    /// key of the trust policy may do this.
    pub async fn complete(&self, signed: SignedProposal, now: Timestamp) -> Result<(), StoreError> {
        let history = self.history().await?;
        if history.is_completed(signed.proposal().id) {
            return Ok(());
        }
        self.check_proposal(&history, &signed, now).await?;
        let missing = signed.missing(history.trust());
        if let Some(first) = missing.into_iter().next() {
            let Requirement {
                role, of, shortage, ..
            } = first;
            return Err(StoreError::NotAllowed { role, of, shortage });
        }
        self.append_to(history, new_id(now), now, Body::Approved(signed))
            .await
    }

    /// Returns the proposals of the store, the oldest first. Reports files that are no proposals.
    pub async fn proposals(
        &self,
        history: &History,
    ) -> Result<(Vec<StoredProposal>, Vec<(String, SignError)>), StoreError> {
        let names = self.backend.list(PROPOSALS).await?;
        let folders: BTreeSet<&str> = names.iter().filter_map(|name| folder(name)).collect();
        let (mut all, mut broken) = (Vec::new(), Vec::new());
        for folder in folders {
            let files = names.iter().filter(|name| name.starts_with(folder));
            match self.read_proposal(history, files).await? {
                (Some(signed), ignored) => all.push(StoredProposal { signed, ignored }),
                (None, ignored) => broken.extend(ignored),
            }
        }
        all.sort_by_key(|one| {
            let proposal = one.signed.proposal();
            (proposal.at.timestamp(), proposal.id)
        });
        Ok((all, broken))
    }

    /// Finds a proposal by the first digits of its digest, with or without `sha256:`.
    pub async fn find_proposal(
        &self,
        history: &History,
        reference: &str,
    ) -> Result<StoredProposal, StoreError> {
        let missing = || StoreError::NoProposal(reference.to_owned());
        let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || hex.len() < SHORTEST_HEX {
            return Err(missing());
        }
        let names = self.backend.list(PROPOSALS).await?;
        let begin = format!("{PROPOSALS}{hex}");
        let found = names.iter().filter(|name| name.starts_with(&begin));
        let folders: BTreeSet<&str> = found.clone().filter_map(|name| folder(name)).collect();
        if folders.len() > 1 {
            let hex = |folder: &&str| folder[PROPOSALS.len()..].trim_end_matches('/').to_owned();
            return Err(StoreError::Ambiguous {
                reference: reference.to_owned(),
                candidates: folders.iter().map(hex).collect(),
            });
        }
        match self.read_proposal(history, found).await? {
            (Some(signed), ignored) => Ok(StoredProposal { signed, ignored }),
            (None, ignored) => Err(match ignored.into_iter().next() {
                Some((name, error)) => StoreError::integrity(name, error.to_string()),
                None => missing(),
            }),
        }
    }

    /// Reads the files of one proposal. A signature that is not valid under the policy that the
    /// proposal names does not count, so another writer cannot spoil the proposal, or make one.
    async fn read_proposal(
        &self,
        history: &History,
        names: impl Iterator<Item = &String>,
    ) -> Result<(Option<SignedProposal>, Vec<(String, SignError)>), StoreError> {
        let (mut signed, mut ignored) = (None::<SignedProposal>, Vec::new());
        for name in names {
            let Some(bytes) = self.backend.get(name).await? else {
                continue;
            };
            let one = match SignedProposal::parse(&bytes) {
                Ok(one) if name.starts_with(&folder_of(one.proposal())) => one,
                Ok(one) => {
                    let why = format!("it is the proposal {}", one.proposal().digest());
                    let what = "proposal";
                    ignored.push((name.clone(), SignError::Shape { what, why }));
                    continue;
                }
                Err(error) => {
                    ignored.push((name.clone(), error));
                    continue;
                }
            };
            let policies = history.policies().iter().map(|(_, trust)| trust);
            let mut named = policies.filter(|trust| trust.digest() == one.proposal().policy);
            match one.signers(named.next().unwrap_or(history.trust())) {
                Ok(_) => {
                    let all =
                        signed.get_or_insert_with(|| SignedProposal::new(one.proposal().clone()));
                    one.signatures().iter().for_each(|one| all.add(one.clone()));
                }
                Err(error) => ignored.push((name.clone(), error)),
            }
        }
        Ok((signed, ignored))
    }
}

/// Returns the folder of a proposal, with its trailing slash.
fn folder_of(proposal: &Proposal) -> String {
    format!("{PROPOSALS}{}/", proposal.digest().hex())
}

/// Returns the folder in the name of a signature.
fn folder(name: &str) -> Option<&str> {
    let end = PROPOSALS.len() + name.strip_prefix(PROPOSALS)?.find('/')?;
    Some(&name[..=end])
}
