//! `fetch`: a verified copy of an artifact, or no file.

use std::os::unix::fs::PermissionsExt;

use super::channels::{assert_session, session, tested};
use super::*;

/// Returns the names in a folder that begin with `.vault-bake-` or end in `.qcow2`.
fn copies(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with(".vault-bake-") || name.ends_with(".qcow2"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_artifact_is_fetched_with_its_recorded_digest_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    tested(root).await;
    fs::write(root.join("other.qcow2"), "another disk").unwrap();
    let fetched = session(
        root,
        &[
            &["promote", "quickstart@1.0.1", "prod"],
            &["fetch", "quickstart:prod", "--to", "prod.qcow2"],
            &["fetch", "quickstart:prod", "--to", "prod.qcow2"],
            &["fetch", "quickstart:prod", "--to", "other.qcow2"],
            &["pin", "quickstart:prod"],
            &[
                "fetch",
                "quickstart:prod",
                "--pins",
                "vault-bake.pins.json",
                "--to",
                "pinned.qcow2",
                "--json",
            ],
            &["fetch", "quickstart:qa", "--to", "qa.qcow2"],
            &["fetch", "quickstart:prod", "--to", "nowhere/prod.qcow2"],
            &["revoke", "quickstart@1.0.1", "--reason", "CVE-2026-1"],
            &["fetch", "quickstart:prod", "--to", "revoked.qcow2"],
            &[
                "fetch",
                "quickstart:prod",
                "--to",
                "allowed.qcow2",
                "--allow-revoked",
            ],
        ],
    );
    assert_session("fetch", &fetched);
    assert_eq!(
        fs::read_to_string(root.join("other.qcow2")).unwrap(),
        "another disk"
    );
    assert_eq!(
        copies(root),
        ["allowed.qcow2", "other.qcow2", "pinned.qcow2", "prod.qcow2"]
    );
}

#[tokio::test]
async fn an_altered_or_missing_artifact_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    tested(root).await;
    let fetch: &[&str] = &["fetch", "quickstart@1.0.0", "--to", "disk.qcow2"];
    assert_eq!(run(root, fetch).status.code(), Some(0));
    let content = fs::read(root.join("disk.qcow2")).unwrap();
    fs::remove_file(root.join("disk.qcow2")).unwrap();
    let artifacts = root.join(".local/share/vault-bake/store/artifacts/sha256");
    let stored = fs::read_dir(&artifacts).unwrap();
    let stored = stored.map(|entry| entry.unwrap().path());
    let stored = { stored }.find(|path| fs::read(path).unwrap() == content);
    let stored = stored.expect("the artifact of the image");
    fs::set_permissions(&stored, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&stored, "DISK").unwrap();
    let altered = session(root, &[fetch]);
    fs::remove_file(&stored).unwrap();
    let missing = session(root, &[fetch]);
    assert_session("fetch_refused", &format!("{altered}\n{missing}"));
    assert_eq!(copies(root), [""; 0]);
}
