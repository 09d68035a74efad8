//! Alters files of a store and expects every change to be detected.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vault_bake::store::dir::Dir;
use vault_bake::store::{Depth, Store, StoreError, VerifyReport};

use super::by_hand::rolled_out;
use super::{files, now, put, store, test_record};

fn write(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
    }
}

/// Returns the report of `verify`, or the integrity error that ended it.
async fn examined(root: &Path) -> Result<VerifyReport, StoreError> {
    Store::open(Dir::new(root))
        .await?
        .verify(Depth::Artifacts)
        .await
}

/// Returns whether `verify` reports changed content.
async fn is_refused(root: &Path) -> bool {
    match examined(root).await {
        Ok(report) => !report.is_sound(),
        // The name of the schema was altered.
        Err(StoreError::Schema { .. }) => true,
        Err(error) => error.is_integrity(),
    }
}

/// Returns whether `verify` reports at least missing or stray files.
async fn is_noticed(root: &Path) -> bool {
    let is_reported =
        |report: VerifyReport| !report.left_over.is_empty() || !report.artifacts_missing.is_empty();
    is_refused(root).await || examined(root).await.is_ok_and(is_reported)
}

#[tokio::test]
async fn every_alteration_is_noticed() {
    let folder = TempDir::new().unwrap();
    let sound = folder.path().join("store");
    let store = store(&sound).await;
    let first = put(&store, "1.0.0", "disk 0").await.unwrap();
    put(&store, "1.0.1", "disk 1").await.unwrap();
    store
        .put_test(&test_record(first, true), now())
        .await
        .unwrap();
    rolled_out(&store, first).await;
    assert!(examined(&sound).await.unwrap().is_sound());
    let names: Vec<PathBuf> = files(&sound)
        .into_iter()
        .map(|file| file.strip_prefix(&sound).unwrap().to_owned())
        .collect();
    // `store.json`, two manifests, a test, a rollout, an envelope for each, its plan, two equal
    // lists, five entries, two disks.
    assert_eq!(names.len(), 1 + 2 + 1 + 1 + 4 + 1 + 1 + 5 + 2);
    let altered = folder.path().join("altered");
    copy(&sound, &altered);
    for name in &names {
        let path = altered.join(name);
        let bytes = fs::read(&path).unwrap();
        // Every byte of a manifest would take minutes; every seventh, and all bytes of small files.
        let every = if bytes.len() > 1000 { 41 } else { 1 };
        for at in (0..bytes.len()).step_by(every) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            write(&path, &flipped);
            assert!(is_refused(&altered).await, "{} byte {at}", name.display());
        }
        write(&path, &bytes[..bytes.len() - 1]);
        assert!(is_refused(&altered).await, "{} cut", name.display());
        fs::remove_file(&path).unwrap();
        assert!(is_noticed(&altered).await, "{} dropped", name.display());
        for other in names.iter().filter(|other| *other != name) {
            fs::copy(sound.join(other), &path).unwrap();
            assert!(
                is_refused(&altered).await,
                "{} is now {}",
                name.display(),
                other.display()
            );
            fs::remove_file(&path).unwrap();
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(examined(&altered).await.unwrap().is_sound());
    for stray in [
        "log/entries/000/000/004",
        "log/entries/000/000/0x1",
        "log/x",
        "objects/sha256/zz/1",
    ] {
        let path = altered.join(stray);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        assert!(is_refused(&altered).await, "{stray} added");
        fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn an_integrity_error_names_the_place() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = put(&store, "1.0.0", "disk 0").await.unwrap();
    put(&store, "1.0.1", "disk 1").await.unwrap();
    let hex = digest.hex();
    let object = root.join("objects/sha256").join(&hex[..2]).join(&hex[2..]);
    write(&object, b"{}");
    let mut errors = vec![store.manifest(&digest).await.err().unwrap()];
    let entry = root.join("log/entries/000/000/001");
    let bytes = fs::read(&entry).unwrap();
    fs::remove_file(&entry).unwrap();
    errors.push(store.images(now()).await.err().unwrap());
    errors.push(put(&store, "1.0.2", "disk 2").await.err().unwrap());
    fs::write(&entry, [&bytes[..], b"\n"].concat()).unwrap();
    errors.push(store.images(now()).await.err().unwrap());
    fs::copy(root.join("log/entries/000/000/002"), &entry).unwrap();
    errors.push(store.images(now()).await.err().unwrap());
    assert!(errors.iter().all(StoreError::is_integrity), "{errors:#?}");
    let printed: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("integrity_errors", printed.join("\n"));
}
