//! Stores in a folder: names, artifacts, temporary files.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;
use testing::signing::{signer, trust};
use vault_bake::digest::Digest;
use vault_bake::store::backend::{Backend as _, Created};
use vault_bake::store::dir::{Dir, Publish};
use vault_bake::store::{Depth, Store};
use vault_bake::wait::Interrupt;

use super::{files, now, store};

#[tokio::test]
async fn a_folder_without_links_publishes_by_rename() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let dir = Dir::with_publish(&root, Publish::Rename);
    let store = Store::open_or_create(dir, &trust(), now()).await.unwrap();
    let store = store.with_signers(vec![signer(1)], Interrupt::default());
    let digest = store.put_object(b"[1]").await.unwrap();
    assert_eq!(store.put_object(b"[1]").await.unwrap(), digest);
    assert_eq!(store.object(&digest).await.unwrap(), b"[1]");
    let created = store
        .backend()
        .create("store.json", b"other")
        .await
        .unwrap();
    assert_eq!(created, Created::Exists);
    assert_ne!(fs::read(root.join("store.json")).unwrap(), b"other");
    assert!(files(&root.join("tmp")).is_empty());
}

#[tokio::test]
async fn names_stay_within_the_store() {
    let folder = TempDir::new().unwrap();
    let dir = Dir::new(folder.path());
    for name in [
        "../x",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "",
        "a\0b",
        "a b",
        "objects/../../x",
    ] {
        assert!(dir.create(name, b"x").await.is_err(), "{name}");
        assert!(dir.get(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn an_artifact_from_another_file_system_is_copied_and_checked() {
    let shm = Path::new("/dev/shm");
    let Ok(elsewhere) = TempDir::new_in(shm) else {
        #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
        let () = eprintln!("SKIPPED: no second file system at {}", shm.display());
        return;
    };
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let captured = elsewhere.path().join("disk.qcow2");
    fs::write(&captured, "disk").unwrap();
    let wrong = store
        .adopt_artifact(&captured, Digest::hash_bytes("other"))
        .await;
    let _ = fs::remove_file(&captured);
    fs::write(&captured, "disk").unwrap();
    let path = store
        .adopt_artifact(&captured, Digest::hash_bytes("disk"))
        .await
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), b"disk");
    assert!(!captured.exists());
    // On one file system the file is renamed, so it is not hashed again.
    if let Err(error) = wrong {
        assert!(error.is_integrity());
    }
}

#[tokio::test]
async fn only_old_files_on_their_way_are_swept() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let stray = root.join("tmp/1-abc");
    fs::write(&stray, "half").unwrap();
    let written = Timestamp::try_from(fs::metadata(&stray).unwrap().modified().unwrap()).unwrap();
    let after = |hours| written + jiff::SignedDuration::from_hours(hours);
    let sweep = |hours, dry_run| store.backend().sweep(after(hours), dry_run).unwrap();
    assert!(sweep(23, false).is_empty());
    assert_eq!(sweep(25, true), std::slice::from_ref(&stray));
    assert!(stray.exists());
    assert_eq!(sweep(25, false), std::slice::from_ref(&stray));
    assert!(!stray.exists());
    assert!(store.verify(Depth::Records).await.unwrap().is_sound());
}
