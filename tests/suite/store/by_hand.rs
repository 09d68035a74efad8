//! Runs the commands of `docs/store.md` that verify a store with openssl, exactly as documented.

#![expect(
    clippy::disallowed_methods,
    reason = "the test runs the commands as users do"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testing::rollout::{CLUSTER, append_begin, image, plan, record_of};
use vault_bake::digest::Digest;
use vault_bake::store::event::{Body, Revoke};
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Store};

use super::{now, put, store};

/// Returns the commands under the heading, a block each: signature, proposal, chain, objects.
fn blocks() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/store.md");
    let text = fs::read_to_string(document).unwrap();
    let (_, section) = text
        .split_once("\n## Verifying without vault-bake\n")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Runs a block. Returns its success and its output.
fn run(block: &str, store: &Path, envelope: &Path) -> (bool, String) {
    let work = TempDir::new().unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", block])
        .current_dir(work.path())
        .env("STORE", store)
        .env("ENVELOPE", envelope)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Changes one base64 character in the JSON field `field`.
fn alter(file: &Path, field: &str) {
    let text = fs::read_to_string(file).unwrap();
    let start = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4 + 20;
    let mut bytes = text.into_bytes();
    bytes[start] = if bytes[start] == b'A' { b'B' } else { b'A' };
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Records a rollout to an image. Returns the digest of its envelope.
pub(super) async fn rolled_out(store: &Store<Dir>, target: Digest) -> Digest {
    let plan = store.put_object(&plan(target, &[target])).await.unwrap();
    append_begin(store, 1, plan, false).await;
    let image = image("quickstart", "1.0.0", target);
    let record = record_of(store, image.clone(), image).await;
    store.put_rollout(&record, now()).await.unwrap();
    let history = store.history().await.unwrap();
    let end = history.rollout(CLUSTER).unwrap().end.as_ref();
    end.unwrap().envelope
}

/// Revokes an image by a proposal. Returns the number of its entry.
async fn approved(store: &Store<Dir>, image: Digest) -> u64 {
    let revoke = Body::Revoke(Revoke {
        rule: Rule::Manifests {
            manifests: [image].into(),
        },
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: None,
    });
    let proposed = store.propose(revoke, now()).await.unwrap();
    store.complete(proposed, now()).await.unwrap();
    store.history().await.unwrap().head()
}

#[tokio::test]
async fn openssl_alone_verifies_a_store() {
    let is_there = |program: &&str| Command::new(program).arg("--help").output().is_ok();
    let programs = ["bash", "openssl", "jq", "sha256sum"];
    if let Some(missing) = programs.iter().find(|one| !is_there(one)) {
        println!("SKIPPED: {missing} is missing");
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = put(&store, "1.0.0", "disk 0").await.unwrap();
    put(&store, "1.0.1", "disk 1").await.unwrap();
    let object = |hex: String| root.join("objects/sha256").join(&hex[..2]).join(&hex[2..]);
    let history = store.history().await.unwrap();
    let envelope: PathBuf = object(history.by_digest(&digest).unwrap().put.envelope.hex());
    let entry = root.join("log/entries/000/000/001");
    let rollout: PathBuf = object(rolled_out(&store, digest).await.hex());
    let approved = approved(&store, digest).await;
    let approved = root.join(format!("log/entries/000/000/{approved:03}"));
    let [signature, proposal, chain, objects] = &blocks()[..] else {
        panic!("four blocks of commands were expected");
    };
    let (verified, text) = run(proposal, &root, &approved);
    assert!(
        verified && text.contains("Signature Verified Successfully"),
        "{text}"
    );
    for signed in [&entry, &envelope, &rollout] {
        let (verified, text) = run(signature, &root, signed);
        assert!(
            verified && text.contains("Signature Verified Successfully"),
            "{text}"
        );
    }
    for block in [chain, objects] {
        assert_eq!(run(block, &root, &entry), (true, String::new()));
    }
    alter(&approved, "payload");
    assert!(!run(proposal, &root, &approved).0);
    alter(&entry, "sig");
    assert!(!run(signature, &root, &entry).0);
    assert!(!run(chain, &root, &entry).0);
    alter(&rollout, "payload");
    assert!(!run(signature, &root, &rollout).0);
    alter(&envelope, "payload");
    assert!(!run(signature, &root, &envelope).0);
    assert!(!run(objects, &root, &envelope).0);
}
