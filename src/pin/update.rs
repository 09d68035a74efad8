//! Adds pins from a store, and updates them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Head, Pin, PinError, PinFile, Proof, SCHEMA, StoreProof, check_name, pinned_facts};
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::history::History;
use crate::store::proof::LogEntry;
use crate::store::{Allow, DeployStatus, Store, StoreError};

/// A pin that was updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinUpdate {
    /// The name of the pin.
    pub name: String,
    /// The pin before the update.
    pub from: Pin,
    /// The pin after the update.
    pub to: Pin,
}

impl PinFile {
    /// Returns a file without pins for `store`. `name` is for messages.
    pub async fn new<B: Backend>(
        name: &str,
        store: &Store<B>,
        history: &History,
    ) -> Result<Self, PinError> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            store: StoreProof::new(store, history).await?,
            pins: BTreeMap::new(),
            name: name.to_owned(),
        })
    }

    /// Pins the version that a channel points to at the time `now`. The default for `name` is
    /// `image:channel`.
    pub async fn add<B: Backend>(
        &mut self,
        name: Option<&str>,
        (image, channel): (&str, &str),
        store: &Store<B>,
        history: &History,
        now: Timestamp,
    ) -> Result<String, PinError> {
        let name = name.map_or_else(|| format!("{image}:{channel}"), str::to_owned);
        if self.pins.contains_key(&name) {
            let file = self.name.clone();
            return Err(PinError::Taken { file, pin: name });
        }
        let pin = pin_channel(&name, (image, channel), store, history, now).await?;
        let file = &self.name;
        check_name(&name, &pin).map_err(|why| PinError::Shape {
            file: file.clone(),
            why,
        })?;
        self.store = StoreProof::new(store, history).await?;
        self.pins.insert(name.clone(), pin);
        Ok(name)
    }

    /// Updates the pins with these names, or all pins, to the versions of their channels at the
    /// time `now`. Returns only changed pins. Call [`Self::check_store_lineage`] first.
    pub async fn update<B: Backend>(
        &mut self,
        names: &[String],
        store: &Store<B>,
        history: &History,
        now: Timestamp,
    ) -> Result<Vec<PinUpdate>, PinError> {
        let names = match names {
            [] => self.pins.keys().cloned().collect(),
            names => names.to_vec(),
        };
        let mut moves: Vec<PinUpdate> = Vec::new();
        for name in names {
            let from = self.pin(&name)?.clone();
            let present = history.channel(&from.image, &from.channel).last();
            let at = present.map_or(0, |present| present.generation);
            let same = present.is_some_and(|present| present.to == from.manifest);
            if at < from.generation || (at == from.generation && !same) {
                return Err(PinError::OtherStore {
                    file: self.name.clone(),
                    why: format!(
                        "{}:{} is at generation {at} in the store, but pin {name} has generation {} with {}",
                        from.image, from.channel, from.generation, from.manifest
                    ),
                });
            }
            if at == from.generation || moves.iter().any(|done| done.name == name) {
                continue;
            }
            let followed = (from.image.as_str(), from.channel.as_str());
            let to = pin_channel(&name, followed, store, history, now).await?;
            moves.push(PinUpdate { name, from, to });
        }
        if !moves.is_empty() {
            self.store = StoreProof::new(store, history).await?;
        }
        for one in &moves {
            self.pins.insert(one.name.clone(), one.to.clone());
        }
        Ok(moves)
    }

    /// Returns whether the pinned images may be deployed at the time `now`, by pin.
    pub async fn evaluate<B: Backend>(
        &self,
        store: &Store<B>,
        history: &History,
        now: Timestamp,
    ) -> Result<BTreeMap<String, DeployStatus>, StoreError> {
        let mut statuses = BTreeMap::new();
        for (name, pin) in &self.pins {
            let status = store.evaluate(history, &pin.manifest, now).await?;
            statuses.insert(name.clone(), status);
        }
        Ok(statuses)
    }

    /// Checks that `store` contains the log that the file proves: it is the same store, and not an
    /// older copy.
    pub async fn check_store_lineage<B: Backend>(
        &self,
        store: &Store<B>,
        history: &History,
    ) -> Result<(), PinError> {
        let other = |why: String| PinError::OtherStore {
            file: self.name.clone(),
            why,
        };
        if store.origin() != self.store.origin {
            let (found, expected) = (store.origin(), self.store.origin);
            return Err(other(format!("its origin is {found}, expected {expected}")));
        }
        let (seq, digest) = self.head();
        if history.head() < seq {
            let head = history.head();
            let why = format!("its log ends at entry {head}, the file has entry {seq}");
            return Err(other(why));
        }
        let entry = entry(store, seq).await?;
        if entry.digest() != digest {
            let found = entry.digest();
            return Err(other(format!(
                "its entry {seq} is {found}, expected {digest}"
            )));
        }
        let until = |(at, _): &&(u64, Trust)| (1..=seq).contains(at);
        let changes = history.policies().iter().filter(until);
        let changes: Vec<u64> = changes.map(|(at, _)| *at).collect();
        let mut known = Vec::new();
        for update in &self.store.trust_updates {
            known.push(LogEntry::parse(update.clone())?.seq);
        }
        if changes != known {
            let why = format!("the entries {changes:?} change its policy, expected {known:?}");
            return Err(other(why));
        }
        for (name, pin) in &self.pins {
            self.check_position(name, pin, history).map_err(other)?;
            for proof in [&pin.proof.recorded, &pin.proof.set] {
                let seq = LogEntry::parse(proof.clone())?.seq;
                let found = store.log_entry(seq).await?;
                if found.is_none_or(|found| found.envelope != *proof) {
                    let why = format!("its entry {seq} differs from the proof of pin {name}");
                    return Err(other(why));
                }
            }
        }
        Ok(())
    }

    /// Checks that the move of the channel is in the log and has an effect.
    fn check_position(&self, name: &str, pin: &Pin, history: &History) -> Result<(), String> {
        let mut positions = history.channel(&pin.image, &pin.channel).iter();
        let position = positions.find(|one| one.generation == pin.generation);
        if position.is_some_and(|one| one.to == pin.manifest) {
            return Ok(());
        }
        Err(format!(
            "{}:{} never pointed to {} as generation {}, as pin {name} claims",
            pin.image, pin.channel, pin.manifest, pin.generation
        ))
    }
}

impl StoreProof {
    async fn new<B: Backend>(store: &Store<B>, history: &History) -> Result<Self, StoreError> {
        let mut trust_updates = Vec::new();
        for (seq, _) in history.policies().iter().filter(|(seq, _)| *seq > 0) {
            trust_updates.push(entry(store, *seq).await?.envelope);
        }
        let last = entry(store, history.head()).await?;
        Ok(Self {
            origin: store.origin(),
            identity: store.identity().await?,
            first: entry(store, 1).await?.envelope,
            trust_updates,
            head: Head {
                seq: last.seq,
                digest: last.digest(),
                entry: last.envelope,
            },
        })
    }
}

/// Returns a pin for the version that a channel points to, with its proof.
async fn pin_channel<B: Backend>(
    name: &str,
    (image, channel): (&str, &str),
    store: &Store<B>,
    history: &History,
    now: Timestamp,
) -> Result<Pin, PinError> {
    let channel_name = format!("{image}:{channel}");
    let positions = history.channel(image, channel);
    let Some(position) = positions.last() else {
        return Err(StoreError::NoChannel(channel_name).into());
    };
    let status = store.evaluate(history, &position.to, now).await?;
    if let Some(obstacle) = status.refusal(Allow::default()) {
        return Err(PinError::Refused {
            pin: name.to_owned(),
            why: obstacle.why.clone(),
            hint: format!(
                "Run `vault-bake promote IMAGE {channel_name}` or \
                 `vault-bake rollback {channel_name} --reason \"…\"` to move the channel."
            ),
        });
    }
    let missing = || StoreError::NotFound(position.to.to_string());
    let recorded = history.by_digest(&position.to).ok_or_else(missing)?;
    let put = &recorded.put;
    let (releases, outputs) = pinned_facts(&store.manifest(&put.manifest).await?);
    Ok(Pin {
        image: image.to_owned(),
        channel: channel.to_owned(),
        generation: position.generation,
        manifest: put.manifest,
        version: put.version,
        releases,
        outputs,
        proof: Proof {
            manifest: store.envelope(&put.envelope, &put.manifest).await?,
            recorded: entry(store, recorded.seq).await?.envelope,
            set: entry(store, position.seq).await?.envelope,
        },
    })
}

/// Reads an entry that must exist according to the history.
async fn entry<B: Backend>(store: &Store<B>, seq: u64) -> Result<LogEntry, StoreError> {
    store.log_entry(seq).await?.ok_or_else(|| {
        let what = format!("entry {seq} of the log");
        let why = "it existed a moment ago and is missing now".to_owned();
        StoreError::Integrity { what, why }
    })
}
