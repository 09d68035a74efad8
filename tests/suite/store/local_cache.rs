//! The local cache of a store: the same result as without it, and detection of older stores.

mod damage;
mod replay;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::memory_backend::MemoryBackend;
use testing::sample::{packages, sample};
use testing::signing::{signer, trust};
use uuid::Uuid;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::Reference;
use vault_bake::sign::sign;
use vault_bake::store::backend::Backend as _;
use vault_bake::store::event::{ManifestPut, PAYLOAD_TYPE, SCHEMA};
use vault_bake::store::history::History;
use vault_bake::store::{Depth, Store, StoreError};
use vault_bake::wait::Interrupt;

use super::now;

/// Writes a log without checking the rules.
struct Writer {
    backend: MemoryBackend,
    seq: u64,
    prev: Digest,
}

impl Writer {
    async fn new() -> Self {
        let backend = MemoryBackend::default();
        let store = Store::open_or_create(backend.clone(), &trust(), now()).await;
        Self {
            prev: store.unwrap().origin(),
            backend,
            seq: 0,
        }
    }

    async fn append(&mut self, id: u64, kind: &str, body: Value) {
        self.seq += 1;
        let payload = canonical_json(&json!({
            "schema": SCHEMA, "seq": self.seq, "prev": self.prev, "id": Uuid::from_u128(u128::from(id)),
            "at": "2026-11-22T19:30:00Z", "kind": kind, "body": body,
        }));
        let (signers, interrupt) = ([signer(1)], Interrupt::default());
        let envelope = sign(PAYLOAD_TYPE, payload, &signers, &interrupt).await;
        let bytes = envelope.unwrap().to_bytes();
        self.prev = Digest::hash_bytes(&bytes);
        self.backend.create(&name(self.seq), &bytes).await.unwrap();
    }

    /// Records that many manifests, of three images, without their objects.
    async fn put(&mut self, count: u64) {
        for _ in 0..count {
            let next = self.seq + 1;
            self.append(next, "manifest.put", manifest(next, next % 3))
                .await;
        }
    }
}

/// Returns the event of manifest `n` of image `image`.
fn manifest(n: u64, image: u64) -> Value {
    let of = Digest::hash_bytes(format!("manifest {n}"));
    let mut put = json!(ManifestPut::from_manifest(
        &sample(&format!("1.0.{n}"), "disk"),
        of,
        Digest::hash_bytes("envelope")
    ));
    put["image"] = format!("image-{image}").into();
    put
}

fn name(seq: u64) -> String {
    format!("log/entries/000/{:03}/{:03}", seq / 1000, seq % 1000)
}

async fn plain(backend: &MemoryBackend) -> Store<MemoryBackend> {
    Store::open(backend.clone()).await.unwrap()
}

async fn remembering(backend: &MemoryBackend, memory: &Path) -> Store<MemoryBackend> {
    plain(backend).await.with_cache(memory)
}

/// Returns all fields of a history; of ids, those in `known`.
fn state_of(history: &History, known: u64) -> BTreeMap<&'static str, String> {
    let by_name = |one: &vault_bake::store::history::RecordedManifest| {
        let found = history.by_name(&one.put.image, one.put.version);
        let same = history.by_digest(&one.put.manifest);
        assert_eq!(same, Some(one));
        found.map(|found| found.seq)
    };
    let recorded = history.recorded();
    let ids = (0..known).filter(|id| history.contains_event(Uuid::from_u128(u128::from(*id))));
    BTreeMap::from([
        ("head", history.head().to_string()),
        ("last", history.last().to_string()),
        ("recorded", format!("{recorded:?}")),
        (
            "by name",
            format!("{:?}", recorded.iter().map(by_name).collect::<Vec<_>>()),
        ),
        (
            "channels",
            format!("{:?}", history.channels().collect::<Vec<_>>()),
        ),
        ("plans", format!("{:?}", history.plans())),
        ("rollouts", format!("{:?}", history.rollouts())),
        ("revocations", format!("{:?}", history.revocations())),
        ("voids", format!("{:?}", history.voids())),
        ("policies", format!("{:?}", history.policies())),
        ("ids", format!("{:?}", ids.collect::<Vec<_>>())),
    ])
}

async fn resolved(store: &Store<MemoryBackend>, reference: &str) -> String {
    let reference: Reference = reference.parse().unwrap();
    match store.resolve(&reference).await {
        Ok(digest) => digest.to_string(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_is_remembered_is_not_read_again_except_by_verify() {
    let memory = TempDir::new().unwrap();
    let mut writer = Writer::new().await;
    writer.put(300).await;
    let store = remembering(&writer.backend, memory.path()).await;
    let _ = writer.backend.take_counts();
    store.history().await.unwrap();
    // All entries, the missing one, and all names.
    assert!(writer.backend.take_counts().0 > 300);
    let wanted = Digest::hash_bytes("manifest 7").to_string();
    for reference in ["image-1@1.0.7", "image-1", &wanted, &wanted[..21]] {
        assert!(resolved(&store, reference).await.starts_with("sha256:"));
        // The last cached entry and the next one; names of this folder and of the next one.
        assert_eq!(writer.backend.take_counts(), (2, 300), "{reference}");
    }
    assert_eq!(store.images(now()).await.unwrap().len(), 300);
    assert_eq!(writer.backend.take_counts(), (2, 300));
    // A few more entries, read each time until they are worth caching.
    writer.put(5).await;
    for _ in 0..2 {
        assert_eq!(
            resolved(&store, "image-1@1.0.304").await,
            Digest::hash_bytes("manifest 304").to_string()
        );
        assert_eq!(writer.backend.take_counts(), (2 + 5, 305));
    }
    writer.put(60).await;
    resolved(&store, "image-1@1.0.304").await;
    let _ = writer.backend.take_counts();
    resolved(&store, "image-2@1.0.365").await;
    assert_eq!(writer.backend.take_counts(), (2, 365));

    writer.backend.alter(&name(1), |bytes| bytes[40] ^= 1);
    assert!(store.history().await.is_ok());
    let report = store.verify(Depth::Records).await.unwrap();
    assert_eq!(report.findings[0].what, name(1));
    assert!(plain(&writer.backend).await.history().await.is_err());
}

#[tokio::test]
async fn a_store_that_went_back_is_noticed() {
    type Change = fn(&MemoryBackend, &MemoryBackend);
    let cases: [(&str, Change); 3] = [
        ("the last entry is gone", |backend, _| {
            backend.remove(&name(20));
        }),
        ("all entries are gone", |backend, _| {
            (1..=20).for_each(|seq| backend.remove(&name(seq)));
        }),
        ("another history", |backend, other| {
            for seq in 15..=20 {
                let bytes = other.files.lock().unwrap()[&name(seq)].clone();
                backend.alter(&name(seq), |entry| *entry = bytes);
            }
        }),
    ];
    for (what, change) in cases {
        let memory = TempDir::new().unwrap();
        let mut writer = Writer::new().await;
        writer.put(14).await;
        let mut other = Writer {
            backend: writer.backend.copy(),
            ..writer
        };
        other.append(99, "manifest.put", manifest(99, 0)).await;
        other.put(5).await;
        writer.put(6).await;
        let store = remembering(&writer.backend, memory.path()).await;
        store.history().await.unwrap();
        change(&writer.backend, &other.backend);
        let reference = "image-1".parse().unwrap();
        let errors = [
            store.history().await.err().unwrap(),
            store.resolve(&reference).await.err().unwrap(),
            store.images(now()).await.err().unwrap(),
        ];
        for error in errors {
            assert!(error.is_integrity(), "{what}");
            let printed = error.to_string();
            let printed = printed.replace(&memory.path().display().to_string(), "MEMORY");
            let printed = printed.replace(&store.origin().hex(), "ORIGIN");
            insta::allow_duplicates! {
                insta::assert_snapshot!(printed, @"integrity: the store memory:test is older than its local cache: entry 20 is missing or different");
            }
        }
        // To accept the older store, delete its cache.
        std::fs::remove_dir_all(memory.path().join(store.origin().hex())).unwrap();
        match what {
            "all entries are gone" => assert_eq!(store.history().await.unwrap().head(), 0),
            _ => assert!(store.history().await.unwrap().head() >= 19),
        }
    }
}

#[tokio::test]
async fn a_gap_is_noticed() {
    // How many entries are cached, how many come, which of those are missing.
    let cases: [(u64, u64, &[u64]); 5] = [
        (0, 10, &[5]),
        (10, 2, &[11]),
        (80, 9, &[85]),
        (80, 9, &[81, 82, 83, 84, 85, 86, 87, 88]),
        (990, 11, &[999, 1000]),
    ];
    for (remembered, more, gone) in cases {
        let memory = TempDir::new().unwrap();
        let mut writer = Writer::new().await;
        writer.put(remembered).await;
        let store = remembering(&writer.backend, memory.path()).await;
        store.history().await.unwrap();
        writer.put(more).await;
        gone.iter()
            .for_each(|seq| writer.backend.remove(&name(*seq)));
        let reference = "image-1".parse().unwrap();
        for error in [
            store.resolve(&reference).await.err().unwrap(),
            store.images(now()).await.err().unwrap(),
            store.history().await.err().unwrap(),
        ] {
            assert!(error.is_integrity());
            let StoreError::Integrity { what, why } = &error else {
                panic!("{error}");
            };
            assert_eq!(*what, name(gone[0]));
            assert!(why.starts_with("missing, although "), "{why}");
        }
        let report = store.verify(Depth::Records).await.unwrap();
        let found = report.findings.iter().find(|one| one.what == name(gone[0]));
        assert!(found.is_some(), "{remembered} {gone:?}");
    }
}

#[test]
fn findings_have_the_same_order_every_time() {
    let build = |threads| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).build().unwrap()
    };
    let memory = TempDir::new().unwrap();
    let (backend, names) = build(1).block_on(async {
        let backend = MemoryBackend::default();
        let store = Store::open_or_create(backend.clone(), &trust(), now()).await;
        let store = store.unwrap().with_cache(memory.path());
        let store = store.with_signers(vec![signer(1)], Interrupt::default());
        let mut names = Vec::new();
        for n in 0..150 {
            let mut list = packages();
            list[0].version = format!("1.{}", n % 7);
            let mut manifest = sample(&format!("1.0.{n}"), &format!("disk {n}"));
            manifest.packages = store.put_packages(&list, "dpkg").await.unwrap();
            let artifact = manifest.outputs[0].id.clone();
            backend.create(&artifact, b"another disk").await.unwrap();
            store.put_manifest(&manifest, now()).await.unwrap();
            let hex = manifest.digest().hex();
            names.push(format!("objects/sha256/{}/{}", &hex[..2], &hex[2..]));
        }
        (backend, names)
    });
    // Seven lists, and for each manifest itself and its envelope.
    assert_eq!(
        backend
            .files
            .lock()
            .unwrap()
            .keys()
            .filter(|name| name.starts_with("objects/"))
            .count(),
        7 + 2 * 150
    );
    let _ = backend.take_counts();
    let check = |threads| {
        build(threads).block_on(async {
            plain(&backend)
                .await
                .verify(Depth::Artifacts)
                .await
                .unwrap()
        })
    };
    assert_eq!(check(2).findings.len(), 150, "every disk is another");
    // All once, except for the two reads beyond the end of the log, which each thread may do.
    let (read, _) = backend.take_counts();
    assert!(
        (1 + 150 + 7 + 300 + 150..=1 + 150 + 7 + 300 + 150 + 64).contains(&read),
        "{read}"
    );
    for name in names.iter().step_by(3) {
        backend.alter(name, |bytes| bytes[100] ^= 1);
    }
    let first = check(1);
    assert_eq!(
        first
            .findings
            .iter()
            .filter(|one| one.what.starts_with("objects/"))
            .count(),
        50
    );
    let found = first.findings.iter().map(|one| one.what.as_str());
    assert!(
        found
            .take(50)
            .eq(names.iter().step_by(3).map(String::as_str))
    );
    for threads in [1, 2, 4, 8] {
        assert_eq!(check(threads), first, "{threads} threads");
    }
}
