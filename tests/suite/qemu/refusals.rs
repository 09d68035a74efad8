//! Refused bases and images, and their errors.

use std::path::PathBuf;

use serde_json::json;
use sha2::{Digest as _, Sha512};
use vault_bake::builder::{Builder as _, BuilderError};
use vault_bake::definition::platform::{Firmware, PlannedBase};
use vault_bake::digest::{Digest, hex};
use vault_bake::event::{Event, Events};
use vault_bake::platform::qemu::{LockedBase, PackageIndex, Qemu, QemuBase, QemuOptions};
use vault_bake::teardown::Teardown;
use vault_bake::wait::Interrupt;

/// A builder and a run in their own folder.
struct BaseHarness {
    folder: tempfile::TempDir,
    qemu: Qemu,
    teardown: Teardown,
}

impl BaseHarness {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            qemu: Qemu::new(QemuOptions::new(folder.path().join("cache"))),
            teardown: Teardown::begin(&folder.path().join("runs"), "run1").expect("a journal"),
            folder,
        }
    }

    async fn refusal(&mut self, wanted: QemuBase, locked: LockedBase) -> BuilderError {
        let base = PlannedBase {
            wanted: json!(wanted),
            locked: json!(locked),
        };
        self.qemu
            .base(
                &base,
                &mut self.teardown,
                &Events::silent(),
                &Interrupt::default(),
            )
            .await
            .expect_err("it is refused")
    }
}

fn packages(mirror: &str, extra: &[&str]) -> QemuBase {
    QemuBase::Packages {
        mirror: mirror.into(),
        suite: "bookworm".into(),
        extra: extra.iter().map(ToString::to_string).collect(),
        packages: Vec::new(),
        firmware: Firmware::Bios,
    }
}

fn index(mirror: &str, content: &str) -> PackageIndex {
    PackageIndex {
        mirror: mirror.into(),
        suite: "bookworm".into(),
        date: "2026-11-20T00:00:00Z".into(),
        sha256: Digest::hash_bytes(content),
    }
}

#[tokio::test]
async fn a_mirror_that_moved_on_is_refused_with_both_dates_and_the_way_out() {
    let mut harness = BaseHarness::new();
    let suite = harness.folder.path().join("mirror/dists/bookworm");
    std::fs::create_dir_all(&suite).expect("a mirror");
    std::fs::write(
        suite.join("InRelease"),
        "Date: Sat, 21 Nov 2026 00:00:00 UTC\n",
    )
    .expect("an index");
    let mirror = format!("file://{}", harness.folder.path().join("mirror").display());
    let locked = LockedBase::Packages {
        index: vec![index(&mirror, "the one of yesterday")],
    };
    let error = harness.refusal(packages(&mirror, &[]), locked).await;
    let hint = error.hint().expect("a way out");
    insta::with_settings!({filters => vec![("file://.*?mirror", "[mirror]")]}, {
        insta::assert_snapshot!(error, @"suite bookworm of [mirror] has changed: expected the index of 2026-11-20T00:00:00Z (sha256:36cf96129dee752ff5bfffb8e4ef5fa7fbc7d706c55c2dd6115d237ec8a6c7e1), found the one of Sat, 21 Nov 2026 00:00:00 UTC (sha256:0ee5e0128cd43ab9fbc05bfc88d5a2685eedee2b19313ab3b1d0322c39294eff)");
        insta::assert_snapshot!(hint, @"Run `vault-bake lock` again, or set a snapshot mirror that keeps the locked state.");
    });
}

#[tokio::test]
async fn a_lock_that_does_not_fit_the_definition_is_refused() {
    let (one, other) = ("http://one", "http://other");
    let image = LockedBase::CloudImage {
        url: "https://x".into(),
        sha512: "0".repeat(128),
    };
    let of = |index: Vec<PackageIndex>| LockedBase::Packages { index };
    for (wanted, locked) in [
        (packages(one, &[]), image),
        (packages(one, &[]), of(vec![])),
        (packages(one, &[]), of(vec![index(other, "")])),
        (
            packages(one, &["http://other bookworm"]),
            of(vec![index(one, "")]),
        ),
        (
            packages(one, &["http://other"]),
            of(vec![index(one, ""), index(other, "")]),
        ),
        (
            packages(one, &[]),
            of(vec![index(one, ""), index(other, "")]),
        ),
    ] {
        let error = BaseHarness::new().refusal(wanted, locked).await;
        assert!(matches!(error, BuilderError::LockMismatch), "{error}");
    }
}

#[tokio::test]
async fn a_cloud_image_with_another_digest_is_refused_and_leaves_nothing() {
    let mut harness = BaseHarness::new();
    let path: PathBuf = harness.folder.path().join("image.raw");
    std::fs::write(&path, "not what was locked").expect("an image");
    let sha512 = hex(&Sha512::digest("what was locked"));
    let url = path.display().to_string();
    let wanted = QemuBase::CloudImage {
        url: url.clone(),
        sha512: sha512.clone(),
        firmware: Firmware::Bios,
    };
    let error = harness
        .refusal(wanted, LockedBase::CloudImage { url, sha512 })
        .await;
    assert!(matches!(error, BuilderError::WrongDigest { .. }), "{error}");
    let leaks = harness
        .teardown
        .finish(&Events::silent(), &Interrupt::default())
        .await;
    assert_eq!(leaks, []);
    let left: Vec<_> = std::fs::read_dir(harness.folder.path().join("cache/images"))
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|end| end == "lock")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_digest_of_another_length_is_refused_unseen() {
    let mut harness = BaseHarness::new();
    let wanted = QemuBase::CloudImage {
        url: "/nowhere".into(),
        sha512: "abc".into(),
        firmware: Firmware::Bios,
    };
    let locked = LockedBase::CloudImage {
        url: "/nowhere".into(),
        sha512: "abc".into(),
    };
    insta::assert_snapshot!(harness.refusal(wanted, locked).await, @"/nowhere: the locked SHA-512 `abc` is not 128 hex digits");
}

#[tokio::test]
async fn a_build_that_waits_for_another_one_has_a_note_and_can_be_interrupted() {
    let mut harness = BaseHarness::new();
    let sha512 = "0".repeat(128);
    let images = harness.folder.path().join("cache/images");
    std::fs::create_dir_all(&images).expect("the cache");
    let other =
        std::fs::File::create(images.join(format!("{}.lock", &sha512[..32]))).expect("a lock");
    other.lock().expect("it is free");
    let interrupt = Interrupt::default();
    let raise = interrupt.clone();
    // The note about the wait makes this user interrupt it.
    let events = Events::new(move |event: &Event| {
        if matches!(event, Event::Note { message } if message.contains("another build")) {
            raise.raise();
        }
    });
    let base = PlannedBase {
        wanted: json!(QemuBase::CloudImage {
            url: "/nowhere".into(),
            sha512: sha512.clone(),
            firmware: Firmware::Bios,
        }),
        locked: json!(LockedBase::CloudImage {
            url: "/nowhere".into(),
            sha512,
        }),
    };
    let error = harness
        .qemu
        .base(&base, &mut harness.teardown, &events, &interrupt)
        .await
        .expect_err("interrupted");
    assert!(matches!(error, BuilderError::Interrupted(_)), "{error}");
}
