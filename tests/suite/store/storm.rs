//! A storm: processes that record bakes until they are killed, and what holds afterwards. Any backend can stand in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use vault_bake::digest::Digest;
use vault_bake::process::Running;
use vault_bake::store::backend::Backend;
use vault_bake::store::{Depth, Store, StoreError};

use crate::sample::{packages, sample};

/// The time at which all of it happens.
pub fn now() -> Timestamp {
    "2026-11-22T19:30:00Z".parse().unwrap()
}

/// Puts the disk, the package list and the manifest of a bake into the store. The disk is made in `scratch`.
pub async fn put<B: Backend>(
    store: &Store<B>,
    scratch: &Path,
    version: &str,
    disk: &str,
) -> Result<Digest, StoreError> {
    let captured = scratch.join(format!("captured-{version}"));
    fs::write(&captured, disk).unwrap();
    store.adopt_artifact(&captured, Digest::of(disk)).await?;
    assert!(!captured.exists());
    store.put_packages(&packages(), "dpkg").await?;
    store.put_manifest(&sample(version, disk), now()).await
}

/// Records bakes for ever, and notes in `folder` which were acknowledged.
pub async fn write_until_killed<B: Backend>(store: &Store<B>, folder: &Path) {
    let pid = std::process::id();
    let acknowledged = folder.join(format!("acknowledged-{pid}"));
    for round in 0.. {
        let version = format!("{pid}.{round}.0");
        let digest = put(store, folder, &version, &version).await.unwrap();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&acknowledged)
            .unwrap();
        std::io::Write::write_all(&mut file, format!("{digest}\n").as_bytes()).unwrap();
    }
}

/// Keeps `writers` processes running and kills one of them at a time, `kills` times, `pause` and a little apart.
pub async fn rage(writers: usize, kills: usize, pause: Duration, start: impl Fn() -> Running) {
    let mut running: Vec<Running> = (0..writers).map(|_| start()).collect();
    for kill in 0..kills {
        let apart = Duration::from_millis(7 * (kill as u64 % 11));
        #[expect(
            clippy::disallowed_methods,
            reason = "a storm has no condition to wait for"
        )]
        tokio::time::sleep(pause + apart).await;
        // Dropping it kills it, wherever it is.
        running[kill % writers] = start();
    }
}

/// After the storm: the store is sound, every acknowledged bake is there, and none is there twice. Returns how many
/// were acknowledged.
pub async fn assert_nothing_is_lost<B: Backend>(store: &Store<B>, folder: &Path) -> u64 {
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    let history = store.history().await.unwrap();
    let mut times: BTreeMap<Digest, usize> = BTreeMap::new();
    for recorded in history.recorded() {
        *times.entry(recorded.put.manifest).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "recorded twice");
    let mut acknowledged = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.display().to_string().contains("acknowledged-") {
            for line in fs::read_to_string(path).unwrap().lines() {
                let digest = line.parse().unwrap();
                assert!(times.contains_key(&digest), "{line} is lost");
                acknowledged += 1;
            }
        }
    }
    assert!(report.entries >= acknowledged);
    acknowledged
}
