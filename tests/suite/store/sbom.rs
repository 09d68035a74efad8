//! The bill of materials in a store: stored before the manifest that names it, and verified with
//! it.

use vault_bake::manifest::{Descriptor, sbom};
use vault_bake::store::{Depth, StoreError};

use super::*;

/// Records a build with a bill of materials.
async fn put_with_sbom(
    store: &Store<Dir>,
    change: impl Fn(&mut Descriptor),
) -> Result<Digest, StoreError> {
    put(store, "1.0.0", "disk 0").await?;
    let mut manifest = sample("1.0.1", "disk 0");
    let mut named = store.put_sbom(&manifest, &packages()).await?;
    change(&mut named);
    manifest.sbom = Some(named);
    store.put_manifest(&manifest, now()).await
}

fn object(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join("objects/sha256").join(&hex[..2]).join(&hex[2..])
}

#[tokio::test]
async fn a_manifest_names_its_sbom() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let digest = put_with_sbom(&store, |_| {}).await.unwrap();
    let manifest = store.manifest(&digest).await.unwrap();
    let bytes = store.sbom(&manifest).await.unwrap().unwrap();
    assert_eq!(bytes, sbom(&manifest, &packages()));
    let named = manifest.sbom.unwrap();
    assert_eq!(
        (named.digest, named.size),
        (Digest::hash_bytes(&bytes), bytes.len() as u64)
    );
    assert_eq!(
        named.media_type,
        "application/vnd.cyclonedx+json; version=1.6"
    );

    let before = files(store.backend().root());
    assert_eq!(put_with_sbom(&store, |_| {}).await.unwrap(), digest);
    assert_eq!(
        files(store.backend().root()),
        before,
        "once more leaves no trace"
    );
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.left_over.is_empty(), "{report}");
    let older = store
        .resolve(&"quickstart@1.0.0".parse().unwrap())
        .await
        .unwrap();
    let older = store.manifest(&older).await.unwrap();
    assert_eq!(store.sbom(&older).await.unwrap(), None);
}

#[tokio::test]
async fn an_sbom_is_stored_before_the_manifest_that_names_it() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let error = put_with_sbom(&store, |named| named.digest = Digest::hash_bytes("another"))
        .await
        .unwrap_err();
    let object = object(Path::new(""), &Digest::hash_bytes("another"));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot store a record that refers to {0}: {0} is not in the store",
            object.display()
        )
    );
    assert_eq!(store.history().await.unwrap().recorded().len(), 1);
}

#[tokio::test]
async fn an_altered_or_missing_sbom_is_found() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = put_with_sbom(&store, |_| {}).await.unwrap();
    let manifest = store.manifest(&digest).await.unwrap();
    let path = object(&root, &manifest.sbom.as_ref().unwrap().digest);
    let bytes = fs::read(&path).unwrap();
    let findings = async || {
        let report = store.verify(Depth::Records).await.unwrap();
        let error = store.sbom(&manifest).await.err();
        assert!(error.is_none_or(|error| error.is_integrity()));
        report
            .findings
            .iter()
            .map(|finding| finding.why.clone())
            .collect::<Vec<_>>()
    };
    assert!(findings().await.is_empty());
    fs::remove_file(&path).unwrap();
    assert_eq!(findings().await, ["missing"]);
    for at in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let found = findings().await;
        assert!(
            found.len() == 1 && found[0].starts_with("its content has the digest"),
            "byte {at}: {found:?}"
        );
    }
    fs::write(&path, &bytes).unwrap();
    assert!(findings().await.is_empty());
}

#[tokio::test]
async fn an_sbom_of_another_size_is_found() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    put_with_sbom(&store, |named| named.size = 7).await.unwrap();
    let report = store.verify(Depth::Records).await.unwrap();
    let why: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.why.as_str())
        .collect();
    assert!(
        why.len() == 1 && why[0].ends_with("bytes, the manifest requires 7"),
        "{why:?}"
    );
}
