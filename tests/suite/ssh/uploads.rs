use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Archive, Packing, SshError};
use vault_bake::wait::Interrupt;

use super::{EventRecorder, session};

/// Returns bytes that do not compress.
fn noise(size_bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size_bytes / 8).flat_map(word).collect()
}

fn files(below: &Path) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(below)
                    .expect("a path below")
                    .display()
                    .to_string();
                found.insert(name, Digest::hash_file(&path).expect("a file").0);
            }
        }
    }
    found
}

#[tokio::test]
async fn big_and_many_files_arrive_as_they_were() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.gz");
    std::fs::write(&big, noise(50_000_000)).unwrap();
    let small = |n: usize| {
        (
            format!("steps/s{}/file{n}", n % 7),
            format!("{n}\n").repeat(n),
        )
    };
    let mut expected: BTreeMap<String, Digest> = (0..500)
        .map(small)
        .map(|(path, text)| (path, Digest::hash_bytes(text)))
        .collect();
    expected.insert(
        "releases/big.gz".to_owned(),
        Digest::hash_file(&big).unwrap().0,
    );

    let to = folder.path().join("it's here");
    let recorder = EventRecorder::default();
    let write = move |archive: &mut Archive<'_>| {
        archive.folder("releases", 0o755)?;
        archive.file("releases/big.gz", 0o640, &big, Packing::Stored)?;
        (0..500)
            .map(small)
            .try_for_each(|(path, text)| archive.bytes(&path, 0o755, text.as_bytes()))
    };
    let to_text = to.display().to_string();
    let interrupt = Interrupt::default();
    session
        .upload(
            &to_text,
            Some(50_000_000),
            write,
            &recorder.events(),
            &interrupt,
        )
        .await
        .unwrap();
    assert_eq!(files(&to), expected);
    let metadata = std::fs::metadata(to.join("releases/big.gz")).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.mtime()),
        (0o640, 0)
    );
    let last = recorder.all().pop();
    assert!(matches!(last, Some(Event::Progress { done_bytes, .. }) if done_bytes > 50_000_000));
}

#[test]
fn the_same_content_is_the_same_archive() {
    let make = || {
        let mut bytes = Vec::new();
        let mut content = |_| {};
        let mut archive = Archive::new(&mut bytes, &mut content);
        archive.folder("a", 0o755).unwrap();
        archive.bytes("a/b", 0o644, b"text").unwrap();
        archive.finish().unwrap();
        bytes
    };
    assert_eq!(make(), make());
    for path in ["", "/etc/passwd", "../up", "a//b", "a/./b"] {
        let (mut bytes, mut content) = (Vec::new(), |_| {});
        assert!(
            Archive::new(&mut bytes, &mut content)
                .bytes(path, 0o644, b"")
                .is_err(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_the_remote_end_says_is_in_the_error() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let content = noise(20_000_000);
    let write = move |archive: &mut Archive<'_>| archive.bytes("file", 0o644, &content);
    let error = session
        .upload("/dev/null/no", None, write, &events, &interrupt)
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @r"
    upload to /dev/null/no failed (exit 1)
      | mkdir: cannot create directory '/dev/null': Not a directory
    ");
}

#[tokio::test]
async fn a_file_that_is_missing_here_is_named_and_the_session_continues() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let write = |archive: &mut Archive<'_>| {
        archive.file("file", 0o644, Path::new("/no/such/file"), Packing::Stored)
    };
    let error = session
        .upload(&to, None, write, &events, &interrupt)
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"upload: cannot write the archive: /no/such/file: No such file or directory (os error 2)");
    let output = session.output(super::script("echo on"), &interrupt).await;
    assert_eq!(output.unwrap(), "on\n");
}

#[tokio::test]
async fn a_vm_without_the_upload_disk_is_an_error_and_stays_unchanged() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let interrupt = Interrupt::default();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("guest").display().to_string();
    let by_disk = session.upload_from_disk(&to, &interrupt);
    assert!(!by_disk.await.unwrap());
    assert!(!Path::new(&to).exists());
}

#[tokio::test]
async fn an_interrupt_ends_an_upload() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let stop = interrupt.clone();
    let write = move |archive: &mut Archive<'_>| {
        let content = noise(4_000_000);
        for n in 0..1000 {
            archive.bytes(&format!("file{n}"), 0o644, &content)?;
            if n == 2 {
                stop.raise();
            }
        }
        Ok(())
    };
    let ended = session.upload(&to, None, write, &events, &interrupt).await;
    assert!(matches!(ended, Err(SshError::Interrupted(_))));
}
