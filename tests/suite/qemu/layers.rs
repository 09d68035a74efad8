//! The layer cache without VMs: which entries are found, and which are deleted.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::json;
use vault_bake::builder::{AccessBy, Builder, Content, Disk, DiskFile, Layer};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::platform::qemu::{Qemu, QemuOptions, layer_use};
use vault_bake::wait::{Interrupt, Poll, Wait};

const NOW_S: i64 = 1_800_000_000;

/// A cache with entries whose files are text.
struct CacheHarness {
    folder: tempfile::TempDir,
    settings: QemuOptions,
}

impl CacheHarness {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("layers")).unwrap();
        Self {
            settings: QemuOptions::new(folder.path()),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("layers").join(name)
    }

    /// Puts an entry into the cache as a build would, on top of another or of the base, made so
    /// many hours ago.
    fn put(&self, name: &str, below: Option<&str>, hours: i64) {
        let file = format!("run-{name}.qcow2");
        fs::write(self.path(&file), content(name)).unwrap();
        let metadata = fs::metadata(self.path(&file)).unwrap();
        let modified = metadata.modified().unwrap();
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let record = json!({
            "schema": 1,
            "made": {
                "key": key(name), "run": "run", "made_s": NOW_S - hours * 3600, "step": name, "note": null,
            },
            "file": file,
            "sha256": Digest::hash_bytes(content(name)),
            "stamp": {"size_bytes": metadata.len(), "modified_ns": modified.as_nanos() as i64},
            "below": below.map(|below| (key(below), Digest::hash_bytes(content(below)))),
            "base": base("base"),
        });
        fs::write(self.record(name), record.to_string()).unwrap();
    }

    fn record(&self, name: &str) -> PathBuf {
        self.path(&format!("{}.json", key(name).hex()))
    }

    /// Sets the last use of an entry to so many hours before others.
    fn unused(&self, name: &str, hours: u64) {
        let record = fs::File::options()
            .write(true)
            .open(self.record(name))
            .unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs((1000 - hours) * 3600);
        record.set_modified(then).unwrap();
    }

    async fn find(&self, base: &str, names: &[&str]) -> Option<Layer> {
        let disk = Disk {
            content: Content::File(self::base(base)),
            firmware: Firmware::Bios,
            access: AccessBy::Credentials,
            kernel: None,
        };
        let keys: Vec<Digest> = names.iter().map(|name| key(name)).collect();
        let now = Timestamp::from_second(NOW_S).unwrap();
        let qemu = Qemu::new(self.settings.clone());
        let found = qemu
            .find_layer(&disk, &keys, now, &Interrupt::default())
            .await;
        found.unwrap()
    }

    /// Returns the steps of the longest entry for these keys.
    async fn found(&self, base: &str, names: &[&str]) -> String {
        let found = self.find(base, names).await;
        let files = found.map_or_else(Vec::new, |layer| layer.files);
        let steps: Vec<String> = files.into_iter().map(|file| file.made.step).collect();
        steps.join(" ")
    }

    /// Returns the entries whose files exist.
    fn left(&self) -> String {
        let entries = fs::read_dir(self.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter_map(|name| {
                Some(
                    name.strip_prefix("run-")?
                        .strip_suffix(".qcow2")?
                        .to_owned(),
                )
            })
            .collect();
        names.sort();
        names.join(" ")
    }
}

fn content(name: &str) -> String {
    name.repeat(2000)
}

fn key(name: &str) -> Digest {
    Digest::hash_bytes(format!("key of {name}"))
}

fn base(name: &str) -> DiskFile {
    DiskFile {
        path: Path::new("/bases").join(name),
        format: "qcow2".to_owned(),
        sha256: Digest::hash_bytes(name),
    }
}

/// On a cloud image, cloud-init writes keys of a run to the disk, and an entry would contain them.
#[test]
fn a_build_from_a_cloud_image_keeps_no_layer() {
    let keeps = |access| {
        let disk = Disk {
            content: Content::File(base("base")),
            firmware: Firmware::Bios,
            access,
            kernel: None,
        };
        Qemu::new(QemuOptions::new("/nonexistent")).can_cache_layers(&disk)
    };
    assert!(keeps(AccessBy::Credentials) && !keeps(AccessBy::CloudInit));
}

#[tokio::test]
async fn the_longest_sound_chain_is_found() {
    let harness = CacheHarness::new();
    harness.put("a", None, 1);
    harness.put("b", Some("a"), 1);
    harness.put("c", Some("b"), 1);
    assert_eq!(harness.found("base", &["a", "b", "c", "d"]).await, "a b c");
    assert_eq!(harness.found("base", &["a", "b", "x"]).await, "a b");
    assert_eq!(harness.found("base", &["x", "b", "c"]).await, "");
    // The same key on another base is another entry.
    assert_eq!(harness.found("other", &["a", "b"]).await, "");
    assert_eq!(harness.found("base", &[]).await, "");
}

#[tokio::test]
async fn a_file_that_was_touched_is_read_and_one_that_was_changed_is_not_used() {
    let harness = CacheHarness::new();
    harness.put("a", None, 1);
    harness.put("b", Some("a"), 1);
    let file = |name: &str| harness.path(&format!("run-{name}.qcow2"));
    let touched = fs::File::options().write(true).open(file("a")).unwrap();
    touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(harness.found("base", &["a", "b"]).await, "a b");
    fs::write(file("a"), content("A")).unwrap();
    assert_eq!(harness.found("base", &["a", "b"]).await, "");
    harness.put("a", None, 1);
    fs::remove_file(file("b")).unwrap();
    assert_eq!(harness.found("base", &["a", "b"]).await, "a");
}

#[tokio::test]
async fn a_layer_on_another_file_than_that_of_its_key_is_not_used_and_goes() {
    let harness = CacheHarness::new();
    harness.put("a", None, 1);
    harness.put("b", Some("a"), 1);
    // Another build has made `a` again; its file has the same name here, and other content.
    let record = fs::read_to_string(harness.record("a")).unwrap();
    let (old, new) = (
        Digest::hash_bytes(content("a")),
        Digest::hash_bytes("made again"),
    );
    fs::write(harness.path("run-a.qcow2"), "made again").unwrap();
    fs::write(harness.record("a"), record.replace(&old.hex(), &new.hex())).unwrap();
    assert_eq!(harness.found("base", &["a", "b"]).await, "a");
    assert_eq!(harness.left(), "a");
}

#[tokio::test]
async fn old_layers_go_and_so_do_files_that_no_record_names() {
    let mut harness = CacheHarness::new();
    harness.put("a", None, 50);
    harness.put("b", Some("a"), 1);
    fs::write(harness.path("run-killed.qcow2"), "half a layer").unwrap();
    fs::write(harness.path(".killed.new"), "half a record").unwrap();
    harness.settings.layers.max_age = Duration::from_secs(48 * 3600);
    // An entry on top of an old one is as old.
    assert_eq!(harness.found("base", &["a", "b"]).await, "");
    assert_eq!(harness.left(), "");
    assert!(!harness.path(".killed.new").exists());
    assert_eq!(layer_use(&harness.settings).layers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn bakes_that_use_one_layer_at_once_all_find_it() {
    let harness = std::sync::Arc::new(CacheHarness::new());
    harness.put("a", None, 1);
    // Each build records its use in the record of the entry.
    let bakes = (0..8).map(|_| {
        let harness = harness.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(harness.found("base", &["a"]).await, "a");
            }
        })
    });
    for bake in bakes.collect::<Vec<_>>() {
        bake.await.expect("a bake finds the layer each time");
    }
}

#[tokio::test]
async fn of_too_many_those_go_that_were_not_used_for_longest_and_none_that_is_in_use() {
    let mut harness = CacheHarness::new();
    for (name, below) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("x", None)] {
        harness.put(name, below, 1);
    }
    for (name, hours) in [("a", 9), ("b", 8), ("c", 7), ("x", 1)] {
        harness.unused(name, hours);
    }
    let one = layer_use(&harness.settings);
    assert_eq!(one.layers, 4);
    harness.settings.layers.max_bytes = one.bytes / 2;
    let held = harness.find("base", &["none"]).await;
    assert!(held.is_none());
    // From the top of the chain down: `a` was unused for longer than `c`, but `c` builds on it.
    assert_eq!(harness.left(), "a x");

    harness.settings.layers.max_bytes = u64::MAX;
    let in_use = harness.find("base", &["a"]).await.unwrap();
    harness.settings.layers.max_bytes = 0;
    harness.found("base", &["x"]).await;
    assert_eq!(harness.left(), "a x");
    drop(in_use);
    // A program that another test just starts may still have the lock of this process for a moment.
    Wait::new("the last layers to go", Duration::from_secs(10))
        .until(&Events::silent(), &Interrupt::default(), || async {
            harness.found("base", &["x"]).await;
            match harness.left() {
                left if left.is_empty() => Poll::Ready(()),
                left => Poll::<(), Infallible>::NotYet(left),
            }
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn without_reuse_nothing_is_found() {
    let mut harness = CacheHarness::new();
    harness.put("a", None, 1);
    harness.settings.layers.reuse = false;
    assert_eq!(harness.found("base", &["a"]).await, "");
    assert_eq!(harness.left(), "a");
}
