//! Plans promotions and rollbacks of channels.
//! Takes the history and the request; returns the complete move, or why it is refused, with a hint.
//! [`Store::move_channel`] appends the move, unless another writer moved the channel since.

use jiff::Timestamp;

use super::backend::Backend;
use super::event::{Body, ChannelSet, Reason};
use super::history::{History, RecordedManifest};
use super::{Allow, Store, StoreError, new_id};
use crate::digest::Digest;
use crate::manifest::succession::{Obstacle, Versions, obstacles};
use crate::manifest::{Manifest, Output};

/// A requested rollback.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    /// The name of the image.
    pub image: &'a str,
    /// The name of the channel.
    pub channel: &'a str,
    /// The target. By default, the manifest before the present one.
    pub to: Option<Digest>,
    /// The reason, in words.
    pub why: &'a str,
    /// The snapshot that the data were restored from, if they were. Older servers cannot read the
    /// data of newer ones.
    pub data_restored_from: Option<&'a str>,
}

impl<B: Backend> Store<B> {
    /// Plans the promotion of a manifest to a channel. With `expect`, fails unless the channel is
    /// at that generation.
    pub async fn plan_promotion(
        &self,
        manifest: &Digest,
        channel: &str,
        expect: Option<u64>,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<ChannelSet, StoreError> {
        let history = self.history().await?;
        let recorded = history.known(manifest)?;
        let image = &recorded.put.image;
        let set = next_move(&history, (image, channel), *manifest, Reason::Promote, note);
        if let Some(expected) = expect.filter(|expected| expected + 1 != set.generation) {
            return Err(StoreError::ChannelMoved {
                channel: format!("{image}:{channel}"),
                expected,
                found: set.generation - 1,
            });
        }
        self.check_target(&history, recorded, &set, now).await?;
        Ok(set)
    }

    /// Plans the rollback of a channel.
    pub async fn plan_rollback(
        &self,
        request: Rollback<'_>,
        now: Timestamp,
    ) -> Result<ChannelSet, StoreError> {
        let Rollback { image, channel, .. } = request;
        let name = format!("{image}:{channel}");
        let history = self.history().await?;
        let generations = history.channel(image, channel);
        let Some(present) = generations.last() else {
            return Err(StoreError::NoChannel(name));
        };
        let before = generations.iter().rev().find(|one| one.to != present.to);
        let Some(to) = request.to.or(before.map(|one| one.to)) else {
            return Err(StoreError::Refused {
                what: name,
                why: "it has no earlier version".to_owned(),
                hint: Some("Pass another version with --to.".to_owned()),
            });
        };
        let note = match request.data_restored_from {
            None => request.why.to_owned(),
            Some(snapshot) => format!("{} (data restored from {snapshot})", request.why),
        };
        let set = next_move(&history, (image, channel), to, Reason::Rollback, Some(note));
        let target = history.known(&to)?;
        let checked = async {
            self.check_target(&history, target, &set, now).await?;
            let (old, new) = (self.manifest(&present.to).await?, self.manifest(&to).await?);
            check_succession(&name, (&old, &new), request.data_restored_from.is_some())
        };
        match (checked.await, request.to) {
            (Ok(()), _) => Ok(set),
            // Under time pressure the user should not have to search for a target.
            (Err(StoreError::Refused { what, why, hint }), None) => {
                let other = self.other_target(&history, present.to, &set, now).await?;
                let hint = other.map(|other| format!("Pass `--to {other}`.")).or(hint);
                Err(StoreError::Refused { what, why, hint })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Appends a planned move.
    pub async fn move_channel(&self, set: ChannelSet, now: Timestamp) -> Result<(), StoreError> {
        self.append(new_id(now), now, Body::ChannelSet(set)).await
    }

    /// Returns the name of the newest earlier manifest of the channel without an obstacle.
    async fn other_target(
        &self,
        history: &History,
        present: Digest,
        refused: &ChannelSet,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let name = format!("{}:{}", refused.image, refused.channel);
        let old = self.manifest(&present).await?;
        for generation in history
            .channel(&refused.image, &refused.channel)
            .iter()
            .rev()
        {
            if generation.to == present || generation.to == refused.to {
                continue;
            }
            let recorded = history.known(&generation.to)?;
            let set = ChannelSet {
                to: generation.to,
                ..refused.clone()
            };
            let new = self.manifest(&generation.to).await?;
            if self
                .check_target(history, recorded, &set, now)
                .await
                .is_ok()
                && check_succession(&name, (&old, &new), false).is_ok()
            {
                return Ok(Some(recorded.put.name()));
            }
        }
        Ok(None)
    }

    /// Checks a target: tested and passed, not revoked, signed, artifact present.
    pub(super) async fn check_target(
        &self,
        history: &History,
        target: &RecordedManifest,
        set: &ChannelSet,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = Body::ChannelSet(set.clone());
        let admitted = history.admits(&body, &self.planned_signers(history), now.into());
        if let Err(error) = &admitted
            && !matches!(error, StoreError::Refused { .. })
        {
            return admitted.map(|_| ());
        }
        let status = self.evaluate(history, &target.put.manifest, now).await?;
        if let Some(obstacle) = status.refusal(Allow::default()) {
            return Err(StoreError::Refused {
                what: format!("{}:{}", set.image, set.channel),
                why: obstacle.why.clone(),
                hint: Some(obstacle.hint.clone()),
            });
        }
        admitted.map(|_| ())
    }
}

/// Returns the move of a channel from its present generation.
fn next_move(
    history: &History,
    (image, channel): (&str, &str),
    to: Digest,
    reason: Reason,
    note: Option<String>,
) -> ChannelSet {
    let present = history.channel(image, channel).last();
    ChannelSet {
        image: image.to_owned(),
        channel: channel.to_owned(),
        generation: present.map_or(0, |present| present.generation) + 1,
        to,
        from: present.map(|present| present.to),
        reason,
        note,
    }
}

/// Checks the obstacles that apply only to going back from `old` to `new`.
fn check_succession(
    channel: &str,
    (old, new): (&Manifest, &Manifest),
    data_restored: bool,
) -> Result<(), StoreError> {
    for obstacle in obstacles(&old.into(), &new.into()) {
        let (why, hint) = match obstacle {
            Obstacle::Class | Obstacle::Machine => (
                format!(
                    "{} is {}, but {} is {}: a fleet cannot change the class of its image",
                    new.name(),
                    classes(new),
                    old.name(),
                    classes(old)
                ),
                "Roll back to a version of the same class, or create a new fleet.",
            ),
            Obstacle::Older(Versions {
                product,
                runs,
                wanted,
            }) if !data_restored => (
                format!(
                    "{} has {product} {wanted}, older than the running {runs}, and may not read its data",
                    new.name()
                ),
                "Restore a Consul snapshot from before the upgrade, then repeat the command with \
                 --data-restored-from SNAPSHOT.",
            ),
            Obstacle::Older(_) | Obstacle::NoOrder(_) => continue,
        };
        return Err(StoreError::Refused {
            what: channel.to_owned(),
            why,
            hint: Some(hint.to_owned()),
        });
    }
    Ok(())
}

fn classes(manifest: &Manifest) -> String {
    let outputs = manifest.outputs.iter();
    let class = |output: &Output| format!("{} {} {}", output.class, output.arch, output.firmware);
    outputs.map(class).collect::<Vec<_>>().join(", ")
}
