//! Concurrent writers, killed or not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use testing::crash_test::{assert_nothing_is_lost, kill_writers, write_until_killed};
use testing::sample::{packages, sample};
use vault_bake::digest::Digest;
use vault_bake::process::Program;
use vault_bake::store::{Depth, StoreError};

use super::{files, now, put, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_at_the_same_time_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let root = root.clone();
        writers.spawn(async move {
            // Each opens the store itself, as another process would; the first ones also race to
            // create it.
            let store = store(&root).await;
            let mut put_ids = Vec::new();
            for round in 0..12 {
                let version = format!("1.{writer}.{round}");
                put_ids.push(put(&store, &version, &version).await.unwrap());
            }
            put_ids
        });
    }
    let acknowledged: Vec<Digest> = writers.join_all().await.into_iter().flatten().collect();
    let store = store(&root).await;
    let history = store.history().await.unwrap();
    assert_eq!(history.head(), 72);
    for digest in acknowledged {
        assert!(history.by_digest(&digest).is_some());
    }
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    assert!(report.left_over.is_empty());
    assert!(files(&root.join("tmp")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_of_one_version_one_wins() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let root = root.clone();
        writers.spawn(async move {
            let store = store(&root).await;
            let disk = format!("disk of {writer}");
            let captured = root.with_extension(&disk);
            fs::write(&captured, &disk).unwrap();
            store
                .adopt_artifact(&captured, Digest::hash_bytes(&disk))
                .await
                .unwrap();
            store.put_packages(&packages(), "dpkg").await.unwrap();
            store.put_manifest(&sample("1.0.0", &disk), now()).await
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = writers
        .join_all()
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(
        lost.iter()
            .all(|result| result.as_ref().is_err_and(StoreError::is_conflict))
    );
    let report = store(&root).await.verify(Depth::Records).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty());
    assert_eq!(report.entries, 1);
}

/// A process of the crash test below: records builds until it is killed, and writes down the
/// acknowledged ones.
#[tokio::test]
#[ignore = "started by `killed_writers_lose_nothing_that_was_acknowledged`"]
async fn a_writer_to_kill() {
    #[expect(clippy::disallowed_methods, reason = "the crash test names the folder")]
    let Ok(folder) = std::env::var("VAULT_BAKE_CRASH_TEST") else {
        return;
    };
    let folder = PathBuf::from(folder);
    write_until_killed(&store(&folder.join("store")).await, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_writers_lose_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let start = || {
        Program::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::writers::a_writer_to_kill"])
            .env("VAULT_BAKE_CRASH_TEST", folder.path())
            .start()
            .unwrap()
    };
    kill_writers(3, 45, Duration::from_millis(40), folder.path(), start).await;
    let store = store(&folder.path().join("store")).await;
    assert_nothing_is_lost(&store, folder.path()).await;
}
