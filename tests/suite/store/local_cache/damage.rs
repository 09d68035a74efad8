//! Damage of the local cache: it is rebuilt, and the content of the store counts.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vault_bake::digest::Digest;

use super::{Writer, now, plain, remembering, resolved, state_of};
use crate::store::{files, put, store};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Rewrites the footer of the file after `change`.
fn sealed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    let size = bytes.len();
    let len = u64::from_le_bytes(bytes[size - 72..size - 64].try_into().unwrap());
    let digests = bytes[usize::try_from(len).unwrap()..size - 72].to_vec();
    let seal = [
        &digests[..],
        &len.to_le_bytes(),
        &bytes[size - 64..size - 32],
    ]
    .concat();
    bytes[size - 32..].copy_from_slice(Digest::hash_bytes(seal).bytes());
    bytes
}

#[tokio::test]
async fn what_is_wrong_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let mut writer = Writer::new().await;
    writer.put(6).await;
    let scratch = plain(&writer.backend).await;
    let expected = state_of(&scratch.history().await.unwrap(), 10);
    let newest = resolved(&scratch, "image-1").await;
    let store = remembering(&writer.backend, folder.path()).await;
    store.history().await.unwrap();
    let own = folder.path().join(store.origin().hex());
    let file = own.join("history");
    assert_eq!(files(folder.path()), std::slice::from_ref(&file));
    assert_eq!((mode(&own), mode(&file)), (0o700, 0o600));
    let sound = fs::read(&file).unwrap();

    let another = {
        let (folder, mut writer) = (TempDir::new().unwrap(), Writer::new().await);
        writer.put(3).await;
        let store = remembering(&writer.backend, folder.path()).await;
        store.history().await.unwrap();
        fs::read(folder.path().join(store.origin().hex()).join("history")).unwrap()
    };
    let format = sound.len() - 34;
    assert_eq!(sound[format], b'4');
    assert_eq!(sealed(&sound, |_| ()), sound);
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("another store's".into(), another),
        ("something else".into(), b"{}".repeat(100)),
        (
            "an older format".into(),
            sealed(&sound, |bytes| bytes[format] = b'3'),
        ),
        (
            "a newer format".into(),
            sealed(&sound, |bytes| bytes[format] = b'5'),
        ),
        ("longer".into(), [&sound[..], b"\n"].concat()),
    ];
    cases.extend(
        (0..sound.len())
            .step_by(397)
            .map(|at| (format!("cut at {at}"), sound[..at].to_vec())),
    );
    cases.extend((0..sound.len()).step_by(23).map(|at| {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at / 23 % 8);
        (format!("byte {at}"), flipped)
    }));
    for (what, bytes) in cases {
        fs::write(&file, bytes).unwrap();
        assert_eq!(resolved(&store, "image-1").await, newest, "{what}");
        assert_eq!(store.images(now()).await.unwrap().len(), 6, "{what}");
        assert_eq!(
            state_of(&store.history().await.unwrap(), 10),
            expected,
            "{what}"
        );
        assert!(fs::read(&file).unwrap() == sound, "{what}: not made anew");
    }
    type Spoil = fn(&Path, &Path);
    let cases: [(&str, Spoil); 5] = [
        ("deleted", |_, file| fs::remove_file(file).unwrap()),
        ("deleted with its folder", |own, _| {
            fs::remove_dir_all(own).unwrap();
        }),
        ("readable by others", |_, file| {
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }),
        ("left by a killed writer", |own, file| {
            fs::write(own.join("new-x"), "half").unwrap();
            fs::remove_file(file).unwrap();
        }),
        ("a folder open to all", |own, file| {
            fs::set_permissions(own, Permissions::from_mode(0o777)).unwrap();
            fs::write(file, "").unwrap();
        }),
    ];
    for (what, spoil) in cases {
        spoil(&own, &file);
        assert_eq!(
            state_of(&store.history().await.unwrap(), 10),
            expected,
            "{what}"
        );
        assert!(fs::read(&file).unwrap() == sound, "{what}");
        assert_eq!((mode(&own), mode(&file)), (0o700, 0o600), "{what}");
        assert_eq!(files(&own), std::slice::from_ref(&file), "{what}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_to_is_no_error() {
    let folder = TempDir::new().unwrap();
    let mut writer = Writer::new().await;
    writer.put(3).await;
    let no_folder: PathBuf = folder.path().join("file");
    fs::write(&no_folder, "").unwrap();
    let store = remembering(&writer.backend, &no_folder).await;
    assert_eq!(store.history().await.unwrap().head(), 3);
    assert_eq!(store.images(now()).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_may_remember_at_once() {
    let folder = TempDir::new().unwrap();
    let mut writer = Writer::new().await;
    writer.put(40).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (backend, memory) = (writer.backend.clone(), folder.path().to_owned());
        readers.spawn(async move {
            for round in 0..6 {
                let store = remembering(&backend, &memory).await;
                assert_eq!(store.history().await.unwrap().recorded().len(), 40);
                if round % 2 == 0 {
                    // Another process may have done the same just before.
                    let _ = fs::remove_file(memory.join(store.origin().hex()).join("history"));
                }
            }
        });
    }
    readers.join_all().await;
    let store = remembering(&writer.backend, folder.path()).await;
    store.history().await.unwrap();
    let _ = writer.backend.take_counts();
    store.history().await.unwrap();
    assert_eq!(writer.backend.take_counts(), (2, 40));
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn the_binary_remembers_in_the_users_cache_and_says_what_went_back() {
    let home = TempDir::new().unwrap();
    let root = home.path().join("store");
    let store = store(&root).await;
    put(&store, "1.0.0", "disk 0").await.unwrap();
    put(&store, "1.0.1", "disk 1").await.unwrap();
    let run = |verb: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
            .args([verb, "--store"])
            .arg(&root)
            .env_clear()
            .env("HOME", home.path())
            .output();
        let output = output.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            error,
        )
    };
    let (code, printed, _) = run("images");
    assert_eq!((code, printed.lines().count()), (Some(0), 2), "{printed}");
    let own = format!(".cache/vault-bake/stores/{}/history", store.origin().hex());
    assert!(home.path().join(&own).exists());
    assert_eq!(run("images").1, printed);
    fs::remove_file(root.join("log/entries/000/000/002")).unwrap();
    let (code, printed, error) = run("images");
    assert_eq!((code, printed.as_str()), (Some(7), ""));
    assert!(
        error.contains("is older than its local cache: entry 2 is missing"),
        "{error}"
    );
    // `verify` uses only the store, which is unchanged.
    assert_eq!(run("verify").0, Some(0));
}
