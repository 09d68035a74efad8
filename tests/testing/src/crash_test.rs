//! A crash test for any backend: processes record builds until they are killed.
//! Afterwards the store is checked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::process::Running;
use vault_bake::store::backend::Backend;
use vault_bake::store::{Depth, Store, StoreError};
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::sample::{packages, sample};

/// Returns the time of all records.
pub fn now() -> Timestamp {
    "2026-11-22T19:30:00Z".parse().unwrap()
}

/// Records a build: disk, package list and manifest. Makes the disk in `scratch`.
pub async fn put<B: Backend>(
    store: &Store<B>,
    scratch: &Path,
    version: &str,
    disk: &str,
) -> Result<Digest, StoreError> {
    let captured = scratch.join(format!("captured-{version}"));
    fs::write(&captured, disk).unwrap();
    store
        .adopt_artifact(&captured, Digest::hash_bytes(disk))
        .await?;
    assert!(!captured.exists());
    store.put_packages(&packages(), "dpkg").await?;
    store.put_manifest(&sample(version, disk), now()).await
}

/// Records builds until the process is killed. Writes the acknowledged ones to a file in `folder`.
pub async fn write_until_killed<B: Backend>(store: &Store<B>, folder: &Path) {
    let pid = std::process::id();
    let acknowledged = folder.join(format!("acknowledged-{pid}"));
    for round in 0.. {
        let version = format!("{pid}.{round}.0");
        let digest = put(store, folder, &version, &version).await.unwrap();
        if round % 8 == 0 {
            // A writer that got an error tries again. That must change nothing.
            let again = put(store, folder, &version, &version).await.unwrap();
            assert_eq!(digest, again);
        }
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&acknowledged)
            .unwrap();
        std::io::Write::write_all(&mut file, format!("{digest}\n").as_bytes()).unwrap();
    }
}

/// Keeps `writers` processes running, and kills one of them `kills` times, with `pause` between
/// kills.
/// Once per round of kills, waits until `folder` shows a new acknowledged build.
pub async fn kill_writers(
    writers: usize,
    kills: usize,
    pause: Duration,
    folder: &Path,
    start: impl Fn() -> Running,
) {
    let mut running: Vec<Running> = (0..writers).map(|_| start()).collect();
    for kill in 0..kills {
        let before = acknowledged(folder).len();
        if kill % writers == 0 {
            Wait::new("an acknowledged build", Duration::from_secs(20))
                .pausing(Duration::from_millis(5), Duration::from_millis(20))
                .until(&Events::silent(), &Interrupt::default(), || async {
                    match acknowledged(folder).len() {
                        now if now > before => Poll::Ready(()),
                        _ => Poll::<(), Infallible>::NotYet("nothing".to_owned()),
                    }
                })
                .await
                .unwrap();
        }
        let apart = Duration::from_millis(7 * (kill as u64 % 11));
        #[expect(
            clippy::disallowed_methods,
            reason = "a crash test has no condition to wait for"
        )]
        tokio::time::sleep(pause + apart).await;
        // The drop kills the process.
        running[kill % writers] = start();
    }
}

/// Returns the digests of all acknowledged builds.
fn acknowledged(folder: &Path) -> Vec<Digest> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let files = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("acknowledged-")
    });
    let texts = files.map(|file| fs::read_to_string(file.path()).unwrap());
    let whole = |text: String| -> Vec<Digest> {
        let lines = text.split_inclusive('\n');
        let lines = lines.filter_map(|line| line.strip_suffix('\n'));
        lines.map(|line| line.parse().unwrap()).collect()
    };
    texts.flat_map(whole).collect()
}

/// Asserts that the store is sound and has every acknowledged build, none of them twice.
/// Returns the number of acknowledged builds.
pub async fn assert_nothing_is_lost<B: Backend>(store: &Store<B>, folder: &Path) -> u64 {
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    let history = store.history().await.unwrap();
    let mut times: BTreeMap<Digest, usize> = BTreeMap::new();
    for recorded in history.recorded() {
        *times.entry(recorded.put.manifest).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "recorded twice");
    let acknowledged = acknowledged(folder);
    for digest in &acknowledged {
        assert!(times.contains_key(digest), "{digest} is lost");
    }
    assert!(report.entries >= acknowledged.len() as u64);
    acknowledged.len() as u64
}
