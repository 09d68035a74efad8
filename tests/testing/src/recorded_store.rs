//! A store with recorded images, and the binary to run against it.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;
use vault_bake::digest::Digest;
use vault_bake::manifest::{self, CloudFact, Manifest};
use vault_bake::sign::Trust;
use vault_bake::store::event::{Body, Retention, Revoke};
use vault_bake::store::gc::ExternalUses;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Rollback, Store};
use vault_bake::wait::Interrupt;

use crate::rollout;
use crate::sample::{packages, release, sample, test_record};
use crate::signing::{key, signer, trust};

/// Returns the time of all records in these stores.
pub fn now() -> Timestamp {
    "2026-11-22T19:30:00Z".parse().unwrap()
}

/// A temporary folder with a store, in which the binary runs.
pub struct RecordedStore {
    folder: TempDir,
    binary: &'static str,
}

impl RecordedStore {
    /// Makes a folder without a store; `binary` is the path of `vault-bake`.
    pub fn new(binary: &'static str) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            binary,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the store, with a policy that trusts only key 1, and signs with key 1.
    pub async fn store(&self) -> Store<Dir> {
        self.store_of(&trust(), &[1]).await
    }

    /// Opens the store, with this policy, and signs with these keys.
    pub async fn store_of(&self, trust: &Trust, keys: &[u8]) -> Store<Dir> {
        open(&self.path("store"), trust, keys).await
    }

    /// Runs the binary in the folder. If `store` is true, sets `VAULT_BAKE_STORE`.
    pub fn run(&self, arguments: &[&str], input: &[u8], store: bool) -> Output {
        let mut command = Command::new(self.binary);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("COLUMNS", "100")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if store {
            command.env("VAULT_BAKE_STORE", self.path("store"));
        }
        let mut child = command.spawn().unwrap();
        // The binary may fail before it reads.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Returns the output on a terminal, or `None` if `script`, which makes one, is missing.
    pub fn on_terminal(&self, arguments: &str) -> Option<String> {
        let binary = self.binary;
        let output = Command::new("script")
            .args(["-qec", &format!("{binary} {arguments}"), "/dev/null"])
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("VAULT_BAKE_STORE", self.path("store"))
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.replace('\r', ""))
    }

    /// Runs the binary with the store. Returns the command, its output and its exit status.
    pub fn transcript(&self, arguments: &[&str]) -> String {
        self.format_run(arguments, &self.run(arguments, b"", true))
    }

    /// Runs the binary without a store. Returns the command, its output and its exit status.
    pub fn transcript_without_store(&self, arguments: &[&str]) -> String {
        self.format_run(arguments, &self.run(arguments, b"", false))
    }

    /// Formats command, output and exit status, without the path of the folder.
    pub fn format_run(&self, arguments: &[&str], output: &Output) -> String {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(&self.folder.path().display().to_string(), "FOLDER")
        };
        format!(
            "$ vault-bake {}\n{}{}exit {}\n",
            arguments.join(" "),
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap()
        )
    }

    /// Copies the store.
    pub fn copy_store(&self, to: &str) {
        copy(&self.path("store"), &self.path(to));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub async fn open(root: &Path, trust: &Trust, keys: &[u8]) -> Store<Dir> {
    let store = Store::open_or_create(Dir::new(root), trust, now()).await;
    let signers = keys.iter().map(|n| signer(*n)).collect();
    store.unwrap().with_signers(signers, Interrupt::default())
}

/// Returns a sample with these versions of Vault and Consul.
pub fn with(version: &str, vault: &str, consul: &str) -> Manifest {
    Manifest {
        releases: vec![
            release("consul", consul, true),
            release("vault", vault, true),
        ],
        ..sample(version, &format!("disk {version}"))
    }
}

/// Records a build that passed its boot test. The disk is `disk VERSION`.
pub async fn bake(store: &Store<Dir>, manifest: &Manifest) -> Digest {
    bake_with(store, manifest, Some(true)).await
}

/// Records a build, and its boot test unless `passed` is `None`. The disk is `disk VERSION`.
pub async fn bake_with(store: &Store<Dir>, manifest: &Manifest, passed: Option<bool>) -> Digest {
    let disk = format!("disk {}", manifest.version);
    let captured = store
        .backend()
        .root()
        .with_extension(format!("captured-{}", manifest.version));
    fs::write(&captured, &disk).unwrap();
    store
        .adopt_artifact(&captured, Digest::hash_bytes(&disk))
        .await
        .unwrap();
    store.put_packages(&packages(), "dpkg").await.unwrap();
    let digest = store.put_manifest(manifest, now()).await.unwrap();
    if let Some(passed) = passed {
        let record = test_record(digest, now(), passed);
        store.put_test(&record, now()).await.unwrap();
    }
    digest
}

/// Moves the channel `prod` to a manifest.
pub async fn promote(store: &Store<Dir>, manifest: &Digest) {
    let set = store.plan_promotion(manifest, "prod", None, None, now());
    let set = set.await.unwrap();
    store.move_channel(set, now()).await.unwrap();
}

/// Revokes a manifest from `at` on.
pub async fn revoke(store: &Store<Dir>, manifest: Digest, instead: Option<Digest>, at: &str) {
    let revoke = Revoke {
        rule: Rule::Manifests {
            manifests: [manifest].into(),
        },
        why: "CVE-2026-0001, it's bad".into(),
        effective_at: at.parse().unwrap(),
        replacement: instead,
    };
    let id = Uuid::now_v7();
    store.append(id, now(), Body::Revoke(revoke)).await.unwrap();
}

/// Appends events of every kind, with and without optional fields, and rules of every kind.
/// Returns the manifest to which the channel points at the end.
pub async fn every_kind(store: &Store<Dir>) -> Digest {
    let first = bake(store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let second = bake(store, &sample("1.0.1", "disk 1.0.1")).await;
    promote(store, &first).await;
    promote(store, &second).await;
    let wish = Rollback {
        image: "quickstart",
        channel: "prod",
        to: None,
        why: "it leaks",
        data_restored_from: Some("a snapshot"),
    };
    let back = store.plan_rollback(wish, now());
    let back = back.await.unwrap();
    store.move_channel(back, now()).await.unwrap();
    let append = async |body| store.append(Uuid::now_v7(), now(), body).await.unwrap();
    for rule in [
        Rule::Manifests {
            manifests: [first, second].into(),
        },
        Rule::Versions {
            image: "q*".into(),
            from: Some("9.0.0".parse().unwrap()),
            to: Some("9.1.0".parse().unwrap()),
        },
        Rule::Versions {
            image: "none".into(),
            from: None,
            to: None,
        },
        Rule::Release {
            product: "vault".into(),
            below: "1.2.3-rc1".into(),
        },
        Rule::Input {
            digest: Digest::hash_bytes("input"),
        },
        Rule::Package {
            name: "openssl".into(),
            below: "3.0.1-1~deb12u3".into(),
        },
    ] {
        let replacement = (!matches!(rule, Rule::Input { .. })).then_some(first);
        append(Body::Revoke(Revoke {
            rule,
            why: "CVE-2026-0001, it's bad".into(),
            effective_at: "2100-01-01T00:00:00Z".parse().unwrap(),
            replacement,
        }))
        .await;
    }
    let history = store.history().await.unwrap();
    let revocation = history.head();
    append(Body::Restore {
        revocation,
        why: "it was not so bad".into(),
    })
    .await;
    // Otherwise the deleted one would be the newest tested image, which is held.
    bake(store, &with("1.0.2", "1.21.0", "1.8.7")).await;
    let keep = Retention {
        generations: 1,
        min_age_s: 0,
        pin_files: 0,
        in_use_lists: 0,
    };
    let outside = ExternalUses::default();
    let (_, planned) = store.plan_gc(&keep, &outside, 0, now()).await.unwrap();
    append(Body::ArtifactDeleted {
        manifest: second,
        plan: planned.unwrap().seq,
        why: "nobody needs it".into(),
    })
    .await;
    every_rollout(store, first).await;
    let revoke = Revoke {
        rule: Rule::Versions {
            image: "none".into(),
            from: None,
            to: None,
        },
        why: "several people say so".into(),
        effective_at: "2100-01-01T00:00:00Z".parse().unwrap(),
        replacement: None,
    };
    let proposed = store.propose(Body::Revoke(revoke), now()).await.unwrap();
    store.complete(proposed, now()).await.unwrap();
    let mut policy: Value = serde_json::from_slice(&trust().to_bytes()).unwrap();
    policy["version"] = json!(2);
    policy["keys"][key(2).public().id().to_string()] = json!(key(2).public());
    let policy = Trust::from_json(policy.to_string().as_bytes()).unwrap();
    append(Body::TrustUpdate { trust: policy }).await;
    first
}

/// Appends the begin of a rollout, its take-over and its end.
async fn every_rollout(store: &Store<Dir>, target: Digest) {
    let plan = rollout::plan(target, &[target]);
    let plan = store.put_object(&plan).await.unwrap();
    rollout::append_begin(store, 1, plan, false).await;
    rollout::append_begin(store, 2, plan, true).await;
    let image = rollout::image("quickstart", "1.0.0", target);
    let record = rollout::record_of(store, image.clone(), image).await;
    store.put_rollout(&record, now()).await.unwrap();
}

/// Returns settings that hide random values: ids of events, digests of entries, and signatures.
pub fn settled() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r#"sha256:[0-9a-f]{64}"#, "DIGEST");
    settings.add_filter(
        r#""(payload|sig|id)": "[A-Za-z0-9+/=-]{36,}""#,
        r#""$1": "…""#,
    );
    settings
}

/// Returns an image on Azure.
pub fn in_cloud(location: &str, class: &str, id: String) -> manifest::Output {
    manifest::Output {
        target: format!("azure/{location}"),
        class: class.to_owned(),
        id,
        format: "vhd".to_owned(),
        arch: "x86_64".to_owned(),
        firmware: "bios".to_owned(),
        file: None,
        cloud: Some(CloudFact {
            location: location.to_owned(),
            created_at: Some("2026-11-22T10:30:00Z".parse().unwrap()),
            unique_id: None,
            run: "01920000-0000-7000-8000-000000000001".to_owned(),
            security: "standard".to_owned(),
            virtual_size: 8 << 30,
        }),
        evidence: "id".to_owned(),
    }
}
