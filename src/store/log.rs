//! The log: numbered events, each chained to the one before, and what they amount to.
//!
//! An event that breaks a rule is void for every reader: kept, reported, and without effect. A chain that is broken
//! is an error: then nobody can say what was recorded.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use super::backend::Backend;
use crate::digest::{Digest, canonical_json};
use crate::manifest::{ImageVersion, Moment, canonical, is_name};

/// The schema of the events that are written.
pub const SCHEMA: &str = "https://vault-bake.dev/event/v1";

/// No event is larger than this, in bytes.
const MAX_BYTES: usize = 60_000;

/// Where the entries are.
pub(super) const ENTRIES: &str = "log/entries/";

/// One entry, as stored.
#[derive(Deserialize)]
struct Entry {
    schema: String,
    seq: u64,
    /// Of the bytes of the entry before; for the first one, of `store.json`.
    prev: Digest,
    id: Uuid,
    at: Moment,
    kind: String,
    body: Value,
    /// Whether a reader that does not know the kind must stop.
    #[serde(default)]
    critical: bool,
    /// Of this entry without this field: nobody after the last entry could tell that it was damaged.
    sum: Digest,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Body {
    /// A manifest was recorded.
    #[serde(rename = "manifest.put")]
    ManifestPut {
        /// Its digest.
        manifest: Digest,
        /// Its image.
        image: String,
        /// Its version.
        version: ImageVersion,
        /// Of the file of its first output.
        artifact: Digest,
    },
    /// A manifest's artifact was tested.
    #[serde(rename = "test.put")]
    TestPut {
        /// The manifest's digest.
        manifest: Digest,
        /// The test record's digest.
        test: Digest,
        /// Whether it passed.
        passed: bool,
    },
}

/// A recorded manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the entry that recorded it.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// Its digest.
    pub manifest: Digest,
    /// Its image.
    pub image: String,
    /// Its version.
    pub version: ImageVersion,
    /// Of the file of its first output.
    pub artifact: Digest,
    /// Its tests, in order: the record's digest, and whether it passed.
    pub tests: Vec<(Digest, bool)>,
}

/// An entry without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Void {
    /// Its number.
    pub seq: u64,
    /// The rule that it breaks, or that its kind is not known.
    pub why: String,
}

/// Whether an event would have an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It would.
    New,
    /// The log says the same already.
    Already,
}

/// What the log says up to some entry.
pub struct History {
    head: u64,
    last: Digest,
    ids: HashSet<Uuid>,
    recorded: Vec<Recorded>,
    by_digest: HashMap<Digest, usize>,
    by_name: BTreeMap<(String, ImageVersion), usize>,
    voids: Vec<Void>,
}

impl History {
    pub(super) fn new(origin: Digest) -> Self {
        Self {
            head: 0,
            last: origin,
            ids: HashSet::new(),
            recorded: Vec::new(),
            by_digest: HashMap::new(),
            by_name: BTreeMap::new(),
            voids: Vec::new(),
        }
    }

    /// The number of the last entry; 0 where there is none.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The manifests, in the order in which they were recorded.
    pub fn recorded(&self) -> &[Recorded] {
        &self.recorded
    }

    /// Entries without effect.
    pub fn voids(&self) -> &[Void] {
        &self.voids
    }

    /// The manifest with this digest.
    pub fn by_digest(&self, digest: &Digest) -> Option<&Recorded> {
        self.by_digest.get(digest).map(|at| &self.recorded[*at])
    }

    /// The manifest with this name.
    pub fn by_name(&self, image: &str, version: ImageVersion) -> Option<&Recorded> {
        let at = self.by_name.get(&(image.to_owned(), version))?;
        Some(&self.recorded[*at])
    }

    /// Whether the log has an event with this id.
    pub fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    /// Whether an event may be appended now: the rules, for writers and readers alike.
    pub fn admits(&self, body: &Body) -> Result<Admission, StoreError> {
        match body {
            Body::ManifestPut {
                manifest,
                image,
                version,
                ..
            } => {
                let taken = self.by_name(image, *version);
                // A manifest names its image and version itself, so it cannot be recorded under two names.
                let Some(taken) = taken.or_else(|| self.by_digest(manifest)) else {
                    return Ok(Admission::New);
                };
                if (&taken.image, taken.version, taken.manifest) == (image, *version, *manifest) {
                    return Ok(Admission::Already);
                }
                Err(StoreError::VersionTaken {
                    name: format!("{}@{}", taken.image, taken.version),
                    digest: taken.manifest,
                })
            }
            Body::TestPut { manifest, test, .. } => match self.by_digest(manifest) {
                None => Err(StoreError::NotFound(manifest.to_string())),
                Some(of) if of.tests.iter().any(|(known, _)| known == test) => {
                    Ok(Admission::Already)
                }
                Some(_) => Ok(Admission::New),
            },
        }
    }

    /// The name and the bytes of the entry that would come next.
    pub(super) fn next_entry(&self, id: Uuid, now: Timestamp, body: &Body) -> (String, Vec<u8>) {
        let seq = self.head + 1;
        let mut entry = serde_json::json!(body);
        entry["schema"] = SCHEMA.into();
        entry["seq"] = seq.into();
        entry["prev"] = self.last.to_string().into();
        entry["id"] = id.to_string().into();
        entry["at"] = Moment::from(now).to_string().into();
        entry["sum"] = Digest::of_value(&entry).to_string().into();
        (entry_name(seq), canonical_json(&entry))
    }

    /// Reads the entries that have come since.
    pub(super) async fn advance(&mut self, backend: &impl Backend) -> Result<(), StoreError> {
        while let Some(bytes) = backend.get(&entry_name(self.head + 1)).await? {
            self.take(&bytes)?;
        }
        Ok(())
    }

    /// An error where there is an entry beyond the head: then one in between is missing.
    pub(super) async fn check_end(&mut self, backend: &impl Backend) -> Result<(), StoreError> {
        let names = backend.list(ENTRIES).await?;
        let Some(last) = names.last() else {
            return Ok(());
        };
        // Others may have written since, so the head is looked for again before anything is called missing.
        self.advance(backend).await?;
        if *last > entry_name(self.head) || self.head == 0 {
            let why = format!("missing, although there is {last}");
            return Err(StoreError::integrity(entry_name(self.head + 1), why));
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let seq = self.head + 1;
        let broken = |why: String| StoreError::integrity(entry_name(seq), why);
        let mut value =
            canonical::parse(bytes, MAX_BYTES).map_err(|error| broken(error.to_string()))?;
        let entry = Entry::deserialize(&value).map_err(|error| broken(error.to_string()))?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("sum");
        }
        if Digest::of_value(&value) != entry.sum {
            return Err(broken("its `sum` is that of another content".to_owned()));
        }
        if entry.seq != seq {
            return Err(broken(format!("it says that it is entry {}", entry.seq)));
        }
        if entry.prev != self.last {
            return Err(broken(format!(
                "it follows {}, but what is before it is {}",
                entry.prev, self.last
            )));
        }
        let effect = self.effect(&entry)?;
        self.ids.insert(entry.id);
        self.head = seq;
        self.last = Digest::of(bytes);
        match effect {
            Ok(body) => self.apply(seq, entry.at, body),
            Err(why) => self.voids.push(Void { seq, why }),
        }
        Ok(())
    }

    /// What the entry says, or why it is void.
    fn effect(&self, entry: &Entry) -> Result<Result<Body, String>, StoreError> {
        let Entry { seq, kind, .. } = entry;
        if entry.schema != SCHEMA || !matches!(kind.as_str(), "manifest.put" | "test.put") {
            if entry.critical {
                let (seq, kind) = (*seq, kind.clone());
                return Err(StoreError::UnknownEvent { seq, kind });
            }
            return Ok(Err(format!("`{kind}` is not known to this version")));
        }
        if self.has(entry.id) {
            return Ok(Err(format!("the id {} was used before", entry.id)));
        }
        let tagged = serde_json::json!({ "kind": kind, "body": entry.body });
        let body: Body = match serde_json::from_value(tagged) {
            Ok(body) => body,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Body::ManifestPut { image, .. } = &body
            && !is_name(image)
        {
            return Ok(Err(format!("`{image}` is no name of an image")));
        }
        Ok(match self.admits(&body) {
            Ok(Admission::New) => Ok(body),
            Ok(Admission::Already) => Err("the log said the same before".to_owned()),
            Err(rule) => Err(rule.to_string()),
        })
    }

    fn apply(&mut self, seq: u64, at: Moment, body: Body) {
        match body {
            Body::ManifestPut {
                manifest,
                image,
                version,
                artifact,
            } => {
                let place = self.recorded.len();
                self.by_name.insert((image.clone(), version), place);
                self.by_digest.insert(manifest, place);
                self.recorded.push(Recorded {
                    seq,
                    at,
                    manifest,
                    image,
                    version,
                    artifact,
                    tests: Vec::new(),
                });
            }
            Body::TestPut {
                manifest,
                test,
                passed,
            } => {
                if let Some(place) = self.by_digest.get(&manifest) {
                    self.recorded[*place].tests.push((test, passed));
                }
            }
        }
    }
}

/// The name of entry `seq`: nine digits in three folders, so that names sort as numbers.
pub(super) fn entry_name(seq: u64) -> String {
    let (millions, thousands, ones) = (seq / 1_000_000, seq / 1000 % 1000, seq % 1000);
    format!("{ENTRIES}{millions:03}/{thousands:03}/{ones:03}")
}
