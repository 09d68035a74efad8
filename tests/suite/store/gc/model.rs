//! Random histories compared with a simple model of holds: no held artifact is deleted, and free
//! ones are.
//! Includes writers that append at the worst moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use proptest::prelude::*;
use vault_bake::store::backend::{ArtifactName, BackendError, Created};

use super::*;

const DISKS: usize = 9;

/// An image, as the model knows it.
struct Image {
    version: String,
    manifest: Digest,
    /// Indexes of its disks.
    disk: usize,
    base: Option<usize>,
    tested: bool,
    revoked: bool,
    removed: bool,
    hour: i64,
}

struct Model {
    _memory: TempDir,
    store: Store<MemoryBackend>,
    images: Vec<Image>,
    channels: [Vec<usize>; 2],
    pinned: BTreeSet<usize>,
    used: BTreeSet<usize>,
    /// The number of a plan, its artifacts, and what it keeps.
    plans: Vec<(u64, Vec<usize>, Retention, i64)>,
    hour: i64,
    removals: usize,
}

/// An action, with numbers that choose its details.
type Op = (u8, usize, usize, bool);

impl Model {
    async fn new() -> Self {
        let memory = TempDir::new().unwrap();
        Self {
            store: in_memory(&memory).await,
            _memory: memory,
            images: Vec::new(),
            channels: [Vec::new(), Vec::new()],
            pinned: BTreeSet::new(),
            used: BTreeSet::new(),
            plans: Vec::new(),
            hour: 0,
            removals: 0,
        }
    }

    fn clock(&self) -> Timestamp {
        now() + SignedDuration::from_hours(self.hour)
    }

    fn outside(&self) -> ExternalUses {
        let mut outside = ExternalUses::default();
        let pins = self
            .pinned
            .iter()
            .map(|at| (self.images[*at].manifest, "a pin".to_owned()));
        outside.add_pins(pins);
        let used = self
            .used
            .iter()
            .map(|at| format!("quickstart@{}", self.images[*at].version));
        outside.add_in_use_list(&used.collect::<Vec<_>>().join("\n"));
        outside
    }

    fn there(&self, disk: usize) -> bool {
        let files = self.store.backend().files.lock().unwrap();
        files.contains_key(&file(&format!("disk {disk}")))
    }

    fn first_of(&self, disk: usize) -> Option<usize> {
        self.images.iter().position(|one| one.disk == disk)
    }

    fn revoked(&self, at: usize) -> bool {
        let one = &self.images[at];
        let parent = one.base.and_then(|base| self.first_of(base));
        one.revoked || parent.is_some_and(|parent| self.revoked(parent))
    }

    /// Whether the image is deleted, and its disk too or kept for others: such an image needs
    /// nothing.
    fn gone(&self, at: usize) -> bool {
        let disk = self.images[at].disk;
        let mut same = self.images.iter().filter(|one| one.disk == disk);
        self.images[at].removed && !(self.there(disk) && same.all(|one| one.removed))
    }

    /// Returns the held images.
    fn held(&self, keep: &Retention) -> BTreeSet<usize> {
        let mut held: BTreeSet<usize> = self.pinned.union(&self.used).copied().collect();
        for channel in &self.channels {
            let last = channel.iter().rev().take(keep.generations as usize);
            // A channel cannot roll back to a deleted image.
            held.extend(last.filter(|at| !self.images[**at].removed));
        }
        let young =
            |one: &Image| !one.removed && (self.hour - one.hour) * 3600 < keep.min_age_s as i64;
        held.extend((0..self.images.len()).filter(|at| young(&self.images[*at])));
        let good = |at: &usize| {
            let one = &self.images[*at];
            one.tested && !one.removed && self.there(one.disk) && !self.revoked(*at)
        };
        held.extend((0..self.images.len()).rev().find(good));
        loop {
            let disks: BTreeSet<usize> = held
                .iter()
                .flat_map(|at| [Some(self.images[*at].disk), self.images[*at].base])
                .flatten()
                .collect();
            let more: BTreeSet<usize> = (0..self.images.len())
                .filter(|at| disks.contains(&self.images[*at].disk) && !self.gone(*at))
                .collect();
            if more.is_subset(&held) {
                return held;
            }
            held.extend(more);
        }
    }

    async fn step(&mut self, (what, a, b, odd): Op) {
        self.hour += 1;
        let count = self.images.len();
        let some = |n: usize| n % count.max(1);
        match what {
            0..=5 => self.record(a % DISKS, b, odd && b > 5).await,
            _ if count == 0 => {}
            6 => self.promote(some(a), b % 2).await,
            7 => {
                self.images[some(a)].revoked = true;
                revoke(&self.store, self.images[some(a)].manifest).await;
            }
            8 if odd => _ = self.pinned.remove(&some(a)),
            8 => _ = self.pinned.insert(some(a)),
            9 if odd => _ = self.used.remove(&some(a)),
            9 => _ = self.used.insert(some(a)),
            10..=13 => self.plan(b, odd).await,
            _ => self.apply(a).await,
        }
    }

    async fn record(&mut self, disk: usize, b: usize, odd: bool) {
        let version = format!("1.0.{}", self.images.len());
        let content = format!("disk {disk}");
        let mut manifest = sample(&version, &content);
        let base = (disk > 0 && b.is_multiple_of(3)).then(|| b % disk);
        if let Some(base) = base {
            manifest.base.disk_sha256 = Some(Digest::hash_bytes(format!("disk {base}")));
        }
        let tested = b % 4 != 1;
        let of = record(&self.store, &manifest, &content, Some(tested), self.clock());
        let manifest = of.await;
        self.images.push(Image {
            version,
            manifest,
            disk,
            base,
            tested,
            revoked: false,
            removed: false,
            hour: self.hour,
        });
        if odd {
            self.promote(self.images.len() - 1, b % 2).await;
        }
    }

    async fn promote(&mut self, at: usize, channel: usize) {
        let name = ["dev", "prod"][channel];
        let manifest = self.images[at].manifest;
        let set = self
            .store
            .plan_promotion(&manifest, name, None, None, self.clock());
        if let Ok(set) = set.await {
            assert!(!self.images[at].removed, "what is gone cannot be promoted");
            self.store.move_channel(set, self.clock()).await.unwrap();
            self.channels[channel].push(at);
        }
    }

    async fn plan(&mut self, b: usize, odd: bool) {
        let keep = Retention {
            generations: 1 + b as u64 % 3,
            min_age_s: if odd { 0 } else { 4 * HOUR_S },
            ..KEEP
        };
        let held = self.held(&keep);
        let free = |at: &usize| {
            let one = &self.images[*at];
            !held.contains(at) && !one.removed && self.there(one.disk)
        };
        let free: Vec<usize> = (0..self.images.len()).filter(free).collect();
        let outside = self.outside();
        let grace_s = (b as u64 % 3) * HOUR_S;
        let planned = self
            .store
            .plan_gc(&keep, &outside, grace_s, self.clock())
            .await;
        let (survey, plan) = planned.unwrap();
        let going = survey
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.is_removable());
        assert_eq!(going.map(|(at, _)| at).collect::<Vec<_>>(), free);
        assert_eq!(plan.is_some(), !free.is_empty());
        if let Some(plan) = plan {
            let due = self.hour + (b as i64 % 3);
            self.plans.push((plan.seq, free, plan.keep, due));
        }
    }

    async fn apply(&mut self, a: usize) {
        let Some((seq, named, keep, due)) = self.plans.get(a % self.plans.len().max(1)).cloned()
        else {
            return;
        };
        let applied = self
            .store
            .apply_gc(seq, &self.outside(), self.clock())
            .await;
        if self.hour < due {
            assert!(applied.unwrap_err().is_conflict(), "too early");
            return;
        }
        let applied = applied.unwrap();
        let held = self.held(&keep);
        for at in named {
            let one = &self.images[at];
            let alone = |other: &Image| other.disk != one.disk || other.removed;
            let gone = applied
                .removed
                .iter()
                .any(|gone| gone.manifest == one.manifest);
            assert!(!(gone && held.contains(&at)), "{} is held", one.version);
            let last = self
                .images
                .iter()
                .enumerate()
                .all(|(i, other)| i == at || alone(other));
            let free = !one.removed && !held.contains(&at) && self.there_before(one.disk, &applied);
            assert!(gone || !free || !last, "{} is free", one.version);
        }
        for gone in &applied.removed {
            let mut images = self.images.iter_mut();
            images
                .find(|one| one.manifest == gone.manifest)
                .unwrap()
                .removed = true;
        }
        for disk in 0..DISKS {
            if applied.files.contains(&file(&format!("disk {disk}"))) {
                self.removals += 1;
                let of = (0..self.images.len()).filter(|at| self.images[*at].disk == disk);
                for at in of {
                    assert!(
                        self.images[at].removed,
                        "{} has it",
                        self.images[at].version
                    );
                    assert!(!held.contains(&at), "{} is held", self.images[at].version);
                }
            }
        }
    }

    /// Returns whether the file existed before the last apply.
    fn there_before(&self, disk: usize, applied: &vault_bake::store::gc::GcOutcome) -> bool {
        self.there(disk) || applied.files.contains(&file(&format!("disk {disk}")))
    }
}

async fn play(ops: Vec<Op>) -> usize {
    let mut model = Model::new().await;
    for op in ops {
        model.step(op).await;
    }
    let history = model.store.history().await.unwrap();
    assert!(history.voids().is_empty());
    let report = model
        .store
        .verify(vault_bake::store::Depth::Artifacts)
        .await
        .unwrap();
    let missing = report.artifacts_missing;
    assert!(
        report.findings.is_empty() && missing.is_empty(),
        "{missing:?}"
    );
    model.removals
}

#[test]
fn no_held_artifact_is_removed_and_free_ones_are() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let removals = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let op = (0..18_u8, 0..40_usize, 0..12_usize, any::<bool>());
    let ops = prop::collection::vec(op, 20..60);
    let played = runner.run(&ops, |ops| {
        removals.set(removals.get() + runtime.block_on(play(ops)));
        Ok(())
    });
    played.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        removals.get() > 0,
        "nothing was ever removed, so nothing was tried"
    );
    println!("{} files removed", removals.get());
}

/// A backend on which another process appends right before the next entry of the log.
struct Meddled {
    backend: MemoryBackend,
    /// The manifest that is promoted to `prod`, once.
    next: Mutex<Option<Digest>>,
}

impl Backend for Meddled {
    fn location(&self) -> String {
        self.backend.location()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.backend.get(name).await
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        self.backend.digest(name).await
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        self.backend.exists(name).await
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        self.backend.size(name).await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let next = match name.starts_with("log/") {
            true => self.next.lock().unwrap().take(),
            false => None,
        };
        if let Some(manifest) = next {
            let other = signed_store(self.backend.clone(), now()).await;
            promote(&other, &manifest, "prod").await;
        }
        self.backend.create(name, bytes).await
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        self.backend.create_file(name, from, digest).await
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        self.backend.fetch_file(name, to).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        self.backend.list(prefix).await
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        Backend::remove(&self.backend, name).await
    }
}

#[tokio::test]
async fn a_writer_who_is_faster_is_seen_by_plan_and_removal() {
    let backend = MemoryBackend::default();
    let meddled = Meddled {
        backend: backend.clone(),
        next: Mutex::default(),
    };
    let store = signed_store(meddled, now()).await;
    let mut of = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        of.push(good(&store, version).await);
    }
    let next = |at: usize| *store.backend().next.lock().unwrap() = Some(of[at]);
    let outside = ExternalUses::default();
    // A promotion during planning changes the plan.
    next(0);
    let (entry, named) = plan(&store, &outside, after_days(40)).await;
    assert_eq!(named, ["quickstart@1.0.1", "quickstart@1.0.2"]);
    // A promotion during the deletion keeps that artifact; the other one is deleted.
    next(1);
    let applied = store
        .apply_gc(entry, &outside, after_days(41))
        .await
        .unwrap();
    let removed: Vec<&str> = applied
        .removed
        .iter()
        .map(|gone| gone.name.as_str())
        .collect();
    assert_eq!(removed, ["quickstart@1.0.2"]);
    assert_eq!(applied.skipped[0].name, "quickstart@1.0.1");
    assert_eq!(
        applied.skipped[0].why,
        "channel quickstart:prod (generation 2)"
    );
    assert_eq!(applied.files, [file("1.0.2")]);
    assert!(store.backend().exists(&file("1.0.1")).await.unwrap());
    assert!(store.history().await.unwrap().voids().is_empty());
}
