//! Whether a manifest may be deployed, in words that people are shown.
//!
//! In: the history and a digest. Out: good, or why not and what to use instead.

use jiff::Timestamp;

use super::backend::Backend;
use super::history::History;
use super::revocation::Standing;
use super::{Store, StoreError};
use crate::digest::Digest;

impl<B: Backend> Store<B> {
    /// What revocations say of a recorded manifest at the time `now`, in words.
    pub async fn verdict(
        &self,
        history: &History,
        manifest: &Digest,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let standing = self.standing(history, manifest, now).await?;
        Ok(Verdict::of(history, manifest, &standing))
    }
}

/// Whether a manifest may be deployed, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Good,
    /// It will be revoked: by what, when, and what to use instead.
    Scheduled(String),
    /// It is revoked, or its artifact was removed: why, and what to use instead.
    Refused(String),
}

impl Verdict {
    fn of(history: &History, manifest: &Digest, standing: &Standing) -> Self {
        let recorded = history.by_digest(manifest);
        let name = recorded.map_or_else(|| manifest.to_string(), |one| one.put.name());
        let inherited = standing.inherited_from.as_ref().map(|from| {
            let from = history.by_digest(from);
            from.map_or_else(String::new, |one| {
                format!(", inherited from {}", one.put.name())
            })
        });
        let instead = |replacement: Option<Digest>| {
            let named = replacement.and_then(|digest| history.by_digest(&digest));
            named.map_or_else(String::new, |one| {
                let put = &one.put;
                format!("; use {} ({}) instead", put.name(), put.manifest)
            })
        };
        if let Some(one) = standing.revoked.first() {
            return Self::Refused(format!(
                "{name} is revoked by entry {}{} ({}){}",
                one.seq,
                inherited.unwrap_or_default(),
                one.revoke.why,
                instead(one.revoke.replacement)
            ));
        }
        if let Some(why) = recorded.and_then(|one| one.deleted.as_ref()) {
            return Self::Refused(format!("the artifact of {name} was removed ({why})"));
        }
        match standing.scheduled.first() {
            None => Self::Good,
            Some(one) => Self::Scheduled(format!(
                "{name} will be revoked on {} by entry {} ({}){}",
                one.revoke.effective_at,
                one.seq,
                one.revoke.why,
                instead(one.revoke.replacement)
            )),
        }
    }
}
