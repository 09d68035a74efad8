//! Moving channels: what is promoted, what is rolled back to, and what guards either.
//!
//! In: the history and what somebody wants. Out: the move, decided to the last field, or why not and what to do instead.
//! A plan changes nothing; [`Store::move_channel`] appends it, and only where nobody moved the channel since.

use jiff::Timestamp;

use super::backend::Backend;
use super::event::{Body, ChannelSet, Reason};
use super::history::{History, Recorded};
use super::{Allow, Store, StoreError, new_id};
use crate::digest::Digest;
use crate::manifest::succession::{Obstacle, Versions, obstacles};
use crate::manifest::{Manifest, Output};

/// A rollback that somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    /// The image.
    pub image: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// Where to; the manifest before the present one where nobody says.
    pub to: Option<Digest>,
    /// Why, in words.
    pub why: &'a str,
    /// The snapshot that the data were restored from, where they were: older servers do not read what newer ones
    /// wrote.
    pub data_restored_from: Option<&'a str>,
}

impl<B: Backend> Store<B> {
    /// The move that promotes a manifest to a channel. With `expect` only where the channel is at that generation.
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
        let set = next(&history, (image, channel), *manifest, Reason::Promote, note);
        if let Some(expected) = expect.filter(|expected| expected + 1 != set.generation) {
            return Err(StoreError::ChannelMoved {
                channel: format!("{image}:{channel}"),
                expected,
                found: set.generation - 1,
            });
        }
        self.guard(&history, recorded, &set, now).await?;
        Ok(set)
    }

    /// The move that takes a channel back.
    pub async fn plan_rollback(
        &self,
        wish: Rollback<'_>,
        now: Timestamp,
    ) -> Result<ChannelSet, StoreError> {
        let Rollback { image, channel, .. } = wish;
        let name = format!("{image}:{channel}");
        let history = self.history().await?;
        let generations = history.channel(image, channel);
        let Some(present) = generations.last() else {
            return Err(StoreError::NoChannel(name));
        };
        let before = generations.iter().rev().find(|one| one.to != present.to);
        let Some(to) = wish.to.or(before.map(|one| one.to)) else {
            return Err(StoreError::Refused {
                what: name,
                why: "it never held anything else; name a manifest with --to".to_owned(),
            });
        };
        let note = match wish.data_restored_from {
            None => wish.why.to_owned(),
            Some(snapshot) => format!("{} (data restored from {snapshot})", wish.why),
        };
        let set = next(&history, (image, channel), to, Reason::Rollback, Some(note));
        let target = history.known(&to)?;
        let guarded = async {
            self.guard(&history, target, &set, now).await?;
            let (old, new) = (self.manifest(&present.to).await?, self.manifest(&to).await?);
            check_succession(&name, (&old, &new), wish.data_restored_from.is_some())
        };
        match (guarded.await, wish.to) {
            (Ok(()), _) => Ok(set),
            // Somebody in a hurry should not have to search.
            (Err(StoreError::Refused { what, why }), None) => {
                let other = self.other_target(&history, present.to, &set, now).await?;
                let why = other.map_or(why.clone(), |other| {
                    format!("{}; `--to {other}` would do", why.trim_end_matches('.'))
                });
                Err(StoreError::Refused { what, why })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Appends a planned move.
    pub async fn move_channel(&self, set: ChannelSet, now: Timestamp) -> Result<(), StoreError> {
        self.append(new_id(now), now, Body::ChannelSet(set)).await
    }

    /// The name of the newest manifest that the channel held and that nothing speaks against.
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
            if self.guard(history, recorded, &set, now).await.is_ok()
                && check_succession(&name, (&old, &new), false).is_ok()
            {
                return Ok(Some(recorded.put.name()));
            }
        }
        Ok(None)
    }

    /// What every move asks for: tested and passed, not revoked, signed, the artifact there.
    async fn guard(
        &self,
        history: &History,
        target: &Recorded,
        set: &ChannelSet,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = Body::ChannelSet(set.clone());
        let admitted = history.admits(&body, &self.own_keys(), now.into());
        if let Err(error) = &admitted
            && !matches!(error, StoreError::Refused { .. })
        {
            return admitted.map(|_| ());
        }
        let status = self.evaluate(history, &target.put.manifest, now).await?;
        if let Some(obstacle) = status.refusal(Allow::default()) {
            return Err(StoreError::Refused {
                what: format!("{}:{}", set.image, set.channel),
                why: format!("{}. {}", obstacle.why, obstacle.hint),
            });
        }
        admitted.map(|_| ())
    }
}

/// The move of a channel from where it is.
fn next(
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

/// What speaks against going back from `old` to `new`, other than what speaks against any move.
fn check_succession(
    channel: &str,
    (old, new): (&Manifest, &Manifest),
    data_restored: bool,
) -> Result<(), StoreError> {
    for obstacle in obstacles(&old.into(), &new.into()) {
        let why = match obstacle {
            Obstacle::Class | Obstacle::Machine => format!(
                "{} is {}, but {} is {}: a fleet cannot change the class of its image; roll back to one of the same class, or make a new fleet",
                new.name(),
                classes(new),
                old.name(),
                classes(old)
            ),
            Obstacle::Older(Versions {
                product,
                runs,
                wanted,
            }) if !data_restored => format!(
                "{} has {product} {wanted}, older than the {runs} that runs, and may not read its data: restore a Consul snapshot \
                 from before the upgrade, then repeat with --data-restored-from SNAPSHOT",
                new.name()
            ),
            Obstacle::Older(_) | Obstacle::NoOrder(_) => continue,
        };
        return Err(StoreError::Refused {
            what: channel.to_owned(),
            why,
        });
    }
    Ok(())
}

fn classes(manifest: &Manifest) -> String {
    let outputs = manifest.outputs.iter();
    let class = |output: &Output| format!("{} {} {}", output.class, output.arch, output.firmware);
    outputs.map(class).collect::<Vec<_>>().join(", ")
}
