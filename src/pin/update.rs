//! Taking pins from a store, and moving them on.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Head, Pin, PinError, PinFile, Proof, SCHEMA, StoreProof, check_name, repeated};
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::history::History;
use crate::store::proof::Logged;
use crate::store::{Allow, DeployStatus, Store, StoreError};

/// A pin that moved on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its name.
    pub name: String,
    /// What it was.
    pub from: Pin,
    /// What it is.
    pub to: Pin,
}

impl PinFile {
    /// A file without pins for `store`. `name` is what messages call it.
    pub async fn begin<B: Backend>(
        name: &str,
        store: &Store<B>,
        history: &History,
    ) -> Result<Self, PinError> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            store: StoreProof::of(store, history).await?,
            pins: BTreeMap::new(),
            name: name.to_owned(),
        })
    }

    /// Pins what a channel holds at the time `now`, under the name `name` or, without one, `image:channel`.
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
        let pin = take(&name, (image, channel), store, history, now).await?;
        let file = &self.name;
        check_name(&name, &pin).map_err(|why| PinError::Shape {
            file: file.clone(),
            why,
        })?;
        self.store = StoreProof::of(store, history).await?;
        self.pins.insert(name.clone(), pin);
        Ok(name)
    }

    /// Moves the pins with these names, all where none is named, to what their channels hold at the time `now`. Those
    /// that stay are not among the result; where all stay, nothing changes. Call [`Self::check_continued`] first.
    pub async fn update<B: Backend>(
        &mut self,
        names: &[String],
        store: &Store<B>,
        history: &History,
        now: Timestamp,
    ) -> Result<Vec<Move>, PinError> {
        let names = match names {
            [] => self.pins.keys().cloned().collect(),
            names => names.to_vec(),
        };
        let mut moves: Vec<Move> = Vec::new();
        for name in names {
            let from = self.pin(&name)?.clone();
            let present = history.channel(&from.image, &from.channel).last();
            let at = present.map_or(0, |present| present.generation);
            let same = present.is_some_and(|present| present.to == from.manifest);
            if at < from.generation || (at == from.generation && !same) {
                return Err(PinError::OtherStore {
                    file: self.name.clone(),
                    why: format!(
                        "{}:{} is at generation {at} there, and pin {name} saw generation {} with {}",
                        from.image, from.channel, from.generation, from.manifest
                    ),
                });
            }
            if at == from.generation || moves.iter().any(|done| done.name == name) {
                continue;
            }
            let of = (from.image.as_str(), from.channel.as_str());
            let to = take(&name, of, store, history, now).await?;
            moves.push(Move { name, from, to });
        }
        if !moves.is_empty() {
            self.store = StoreProof::of(store, history).await?;
        }
        for one in &moves {
            self.pins.insert(one.name.clone(), one.to.clone());
        }
        Ok(moves)
    }

    /// Whether the pinned images may be deployed at the time `now`, by the pins' names.
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

    /// Whether `store` has all that the file remembers of its log: it is the same store, and not an older copy.
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
            let (found, wanted) = (store.origin(), self.store.origin);
            return Err(other(format!("its origin is {found}, the file's {wanted}")));
        }
        let (seq, digest) = self.head();
        if history.head() < seq {
            let head = history.head();
            let why = format!("its log ends at entry {head}, the file saw entry {seq}");
            return Err(other(why));
        }
        let entry = entry(store, seq).await?;
        if entry.digest() != digest {
            let found = entry.digest();
            return Err(other(format!(
                "its entry {seq} is {found}, the file saw {digest}"
            )));
        }
        let until = |(at, _): &&(u64, Trust)| (1..=seq).contains(at);
        let changes = history.policies().iter().filter(until);
        let changes: Vec<u64> = changes.map(|(at, _)| *at).collect();
        let mut known = Vec::new();
        for update in &self.store.trust_updates {
            known.push(Logged::read(update.clone())?.seq);
        }
        if changes != known {
            let why = format!(
                "its policy changed by the entries {changes:?}, by the file's word {known:?}"
            );
            return Err(other(why));
        }
        for (name, pin) in &self.pins {
            self.check_position(name, pin, history).map_err(other)?;
            for proof in [&pin.proof.recorded, &pin.proof.set] {
                let seq = Logged::read(proof.clone())?.seq;
                let there = store.logged(seq).await?;
                if there.is_none_or(|there| there.envelope != *proof) {
                    let why = format!("its entry {seq} is not the one that proves pin {name}");
                    return Err(other(why));
                }
            }
        }
        Ok(())
    }

    /// The move of the channel is in the log and in force.
    fn check_position(&self, name: &str, pin: &Pin, history: &History) -> Result<(), String> {
        let mut positions = history.channel(&pin.image, &pin.channel).iter();
        let position = positions.find(|one| one.generation == pin.generation);
        if position.is_some_and(|one| one.to == pin.manifest) {
            return Ok(());
        }
        Err(format!(
            "{}:{} never held {} as generation {}, as pin {name} says",
            pin.image, pin.channel, pin.manifest, pin.generation
        ))
    }
}

impl StoreProof {
    async fn of<B: Backend>(store: &Store<B>, history: &History) -> Result<Self, StoreError> {
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

/// What a channel holds, with its proof.
async fn take<B: Backend>(
    name: &str,
    (image, channel): (&str, &str),
    store: &Store<B>,
    history: &History,
    now: Timestamp,
) -> Result<Pin, PinError> {
    let place = format!("{image}:{channel}");
    let positions = history.channel(image, channel);
    let Some(position) = positions.last() else {
        return Err(StoreError::NoChannel(place).into());
    };
    let status = store.evaluate(history, &position.to, now).await?;
    if let Some(obstacle) = status.refusal(Allow::default()) {
        return Err(PinError::Refused {
            pin: name.to_owned(),
            why: format!(
                "{}; `vault-bake promote IMAGE {place}` or `vault-bake rollback {place} --reason \"…\"` takes it to another image",
                obstacle.why
            ),
        });
    }
    let missing = || StoreError::NotFound(position.to.to_string());
    let recorded = history.by_digest(&position.to).ok_or_else(missing)?;
    let put = &recorded.put;
    let (releases, outputs) = repeated(&store.manifest(&put.manifest).await?);
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

/// An entry that the history says is there.
async fn entry<B: Backend>(store: &Store<B>, seq: u64) -> Result<Logged, StoreError> {
    store.logged(seq).await?.ok_or_else(|| {
        let what = format!("entry {seq} of the log");
        let why = "it was there a moment ago, and is gone".to_owned();
        StoreError::Integrity { what, why }
    })
}
