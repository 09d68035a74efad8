//! The output formats of the commands that read records, on a store with three images.

use jiff::Timestamp;
use testing::sample::{packages, release, sample};
use testing::signing::{signer, trust};
use vault_bake::digest::Digest;
use vault_bake::store::{Dir, Store};
use vault_bake::wait::Interrupt;

use super::*;

/// Makes a store: 1.0.0 without an SBOM, 1.0.1 with one, 1.0.2 with an older Vault.
pub async fn recorded(home: &Path) {
    let now: Timestamp = "2026-11-22T19:30:00Z".parse().unwrap();
    let root = home.join(".local/share/vault-bake/store");
    fs::create_dir_all(root.parent().unwrap()).unwrap();
    let store = Store::open_or_create(Dir::new(&root), &trust(), now).await;
    let store = store
        .unwrap()
        .with_signers(vec![signer(1)], Interrupt::default());
    store.put_packages(&packages(), "dpkg").await.unwrap();
    let disk = home.join("disk");
    fs::write(&disk, "disk").unwrap();
    store
        .adopt_artifact(&disk, Digest::hash_bytes("disk"))
        .await
        .unwrap();
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        let mut manifest = sample(version, "disk");
        if version == "1.0.2" {
            manifest.releases[1] = release("vault", "1.20.4", true);
        }
        if version != "1.0.0" {
            manifest.sbom = Some(store.put_sbom(&manifest, &packages()).await.unwrap());
        }
        store.put_manifest(&manifest, now).await.unwrap();
    }
}

#[tokio::test]
async fn an_sbom_is_printed_as_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    recorded(folder.path()).await;
    let output = run(folder.path(), &["sbom", "quickstart@1.0.1"]);
    assert_eq!(output.status.code(), Some(0));
    let mut manifest = sample("1.0.1", "disk");
    assert_eq!(
        output.stdout,
        vault_bake::manifest::sbom(&manifest, &packages())
    );
    manifest.version = "1.0.2".parse().unwrap();
    assert_ne!(
        output.stdout,
        vault_bake::manifest::sbom(&manifest, &packages())
    );
    let without = run(folder.path(), &["sbom", "quickstart@1.0.0"]);
    let unknown = run(folder.path(), &["sbom", "other", "--json"]);
    insta::assert_snapshot!(format_run(folder.path(), &without) + "\n" + &format_run(folder.path(), &unknown), @r#"
    exit 1
    --- stdout
    --- stderr
    error: quickstart@1.0.0 was recorded without an SBOM
    hint: Build the image again: new images have one.

    exit 1
    --- stdout
    {"error":"other is not in the store","event":"failed","exit":1,"hint":"Run `vault-bake images` to list the images.","leftovers":[],"log":null}
    --- stderr
    "#);
}

#[tokio::test]
async fn a_difference_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    recorded(folder.path()).await;
    let diff = |more: &[&str]| {
        let images = ["diff", "quickstart@1.0.1", "quickstart"];
        run(folder.path(), &[&images[..], more].concat())
    };
    let json = diff(&["--json"]);
    assert_eq!(json.stdout, diff(&["--format", "json"]).stdout);
    assert_eq!(json.stdout, diff(&["--format", "json", "--json"]).stdout);
    let text = diff(&[]);
    assert_eq!(text.stdout, diff(&["--format", "text"]).stdout);
    let table: Vec<String> = [
        text,
        json,
        diff(&["--format", "markdown"]),
        diff(&["--format", "markdown", "--json"]),
    ]
    .iter()
    .map(|output| format_run(folder.path(), output))
    .collect();
    insta::assert_snapshot!(table.join("\n"));
}
