//! Proofs of a pin file: forged content, roles, thresholds, rotated policies.

use std::fs;

use serde_json::{Value, json};
use testing::recorded_store::{RecordedStore, bake, now, open, promote, settled, with};
use testing::signing::{key, trust};
use vault_bake::pin::{PinError, PinFile};
use vault_bake::sign::{PublicKey, Trust};
use vault_bake::store::event::Body;
use vault_bake::store::{Dir, Store};

use super::{FILE, pinned};

fn public(n: u8) -> PublicKey {
    key(n).public().clone()
}

/// A policy of keys 1 to 6: `root` is root, `builder` builds, and both `promoters` together
/// promote.
fn policy(version: u64, root: u8, builder: u8, promoters: [u8; 2]) -> Trust {
    let ids = |numbers: &[u8]| -> Vec<String> {
        let ids = numbers.iter().map(|n| public(*n).id().to_string());
        ids.collect()
    };
    let keys: serde_json::Map<String, Value> = (1..=6)
        .map(|n| (public(n).id().to_string(), json!(public(n))))
        .collect();
    let value = json!({
        "schema": "https://vault-bake.dev/trust/v1", "version": version, "keys": keys,
        "grants": [
            { "role": "root", "keys": ids(&[root]) },
            { "role": "builder", "keys": ids(&[builder]) },
            { "role": "promoter", "keys": ids(&promoters), "threshold": 2 },
        ],
    });
    Trust::from_json(value.to_string().as_bytes()).unwrap()
}

async fn file_of(store: &Store<Dir>) -> PinFile {
    let history = store.history().await.unwrap();
    let mut file = PinFile::new("pins", store, &history).await.unwrap();
    let of = ("quickstart", "prod");
    file.add(None, of, store, &history, now()).await.unwrap();
    file
}

fn json_of(file: &PinFile) -> Value {
    serde_json::from_str(&file.to_text()).unwrap()
}

fn verify(value: &Value, given: Option<&Trust>) -> Result<(), PinError> {
    PinFile::parse("pins", value.to_string().as_bytes())?
        .verify(given)
        .map(|_| ())
}

#[tokio::test]
async fn lies_are_named_by_pin_and_field() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let sound = json_of(&pinned(&recorded).await);
    // A second image and a second channel, to mix up proofs.
    let store = recorded.store().await;
    let second = bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
    promote(&store, &second).await;
    let later = json_of(&file_of(&store).await);
    // The same content of another store, signed by the same key.
    let other = RecordedStore::new(crate::VAULT_BAKE);
    let foreign = json_of(&pinned(&other).await);
    // And a store with another root key.
    let strange = RecordedStore::new(crate::VAULT_BAKE);
    let theirs = strange.store_of(&Trust::single_key(&public(2)), &[2]).await;
    let image = bake(&theirs, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&theirs, &image).await;
    let strange = json_of(&file_of(&theirs).await);

    const PIN: &str = "/pins/quickstart:prod";
    let at = |path: &str| format!("{PIN}/{path}");
    let digest = json!(format!("sha256:{}", "0".repeat(64)));
    let from = |value: &Value, path: &str| value.pointer(path).unwrap().clone();
    let proof = |value: &Value, of: &str| from(value, &at(&format!("proof/{of}")));
    let table: Vec<(&str, String, Value)> = vec![
        ("another manifest", at("manifest"), digest.clone()),
        ("another generation", at("generation"), json!(2)),
        ("another version", at("version"), json!("1.0.9")),
        ("another Vault", at("releases/vault"), json!("1.21.0")),
        ("one release less", at("releases"), json!({})),
        (
            "another image id",
            at("outputs/0/id"),
            json!("/tmp/mine.qcow2"),
        ),
        ("another class", at("outputs/0/class"), json!("vhd")),
        ("another target", at("outputs/0/target"), json!("azure/eu")),
        ("another file", at("outputs/0/digest"), digest.clone()),
        ("no outputs", at("outputs"), json!([])),
        (
            "the later manifest",
            at("proof/manifest"),
            proof(&later, "manifest"),
        ),
        (
            "the later record",
            at("proof/recorded"),
            proof(&later, "recorded"),
        ),
        ("the later move", at("proof/set"), proof(&later, "set")),
        (
            "the record as move",
            at("proof/set"),
            proof(&sound, "recorded"),
        ),
        (
            "the move as record",
            at("proof/recorded"),
            proof(&sound, "set"),
        ),
        (
            "the event as manifest",
            at("proof/manifest"),
            proof(&sound, "set"),
        ),
        (
            "a move by a stranger",
            at("proof/set"),
            proof(&strange, "set"),
        ),
        (
            "a record by a stranger",
            at("proof/recorded"),
            proof(&strange, "recorded"),
        ),
        (
            "a manifest by a stranger",
            at("proof/manifest"),
            proof(&strange, "manifest"),
        ),
        ("the later pin", PIN.into(), from(&later, PIN)),
        ("another origin", "/store/origin".into(), digest.clone()),
        (
            "another store's name",
            "/store/identity/id".into(),
            json!("x"),
        ),
        (
            "another store",
            "/store/identity".into(),
            from(&foreign, "/store/identity"),
        ),
        (
            "another beginning",
            "/store/first".into(),
            from(&foreign, "/store/first"),
        ),
        (
            "the end as beginning",
            "/store/first".into(),
            from(&sound, "/store/head/entry"),
        ),
        ("the end is later", "/store/head/seq".into(), json!(9)),
        ("another end", "/store/head/digest".into(), digest),
        (
            "the beginning as end",
            "/store/head/entry".into(),
            from(&sound, "/store/first"),
        ),
        (
            "no change of policy",
            "/store/trust_updates".into(),
            json!([from(&sound, "/store/first")]),
        ),
    ];
    let mut lines = Vec::new();
    for (what, path, lie) in table {
        let mut value = sound.clone();
        match value.pointer_mut(&path) {
            Some(place) => *place = lie,
            None => value["store"]["trust_updates"] = lie,
        }
        let error = verify(&value, None).unwrap_err();
        assert!(error.is_integrity(), "{what}: {error}");
        lines.push(format!("{what}\n    {error}"));
    }
    let mut settings = settled();
    settings.add_filter("key DIGEST", "key ID");
    settings.bind(|| insta::assert_snapshot!(lines.join("\n")));
    assert!(verify(&sound, None).is_ok() && verify(&later, None).is_ok());
}

#[tokio::test]
async fn a_file_of_another_store_is_detected_with_a_trust_policy() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded
        .store_of(&Trust::single_key(&public(2)), &[2])
        .await;
    let image = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    promote(&store, &image).await;
    let file = file_of(&store).await;
    fs::write(recorded.path(FILE), file.to_text()).unwrap();
    fs::write(recorded.path("trust.json"), trust().to_bytes()).unwrap();
    assert!(file.verify(None).is_ok());
    let verify = ["verify", "--pins", FILE, "--trust", "trust.json"];
    let transcripts = [
        recorded.transcript_without_store(&verify),
        recorded.transcript_without_store(&[
            "resolve",
            "--pins",
            FILE,
            "quickstart:prod",
            "--trust",
            "trust.json",
        ]),
    ];
    insta::assert_snapshot!(transcripts.join("\n"));
    fs::write(
        recorded.path("trust.json"),
        Trust::single_key(&public(2)).to_bytes(),
    )
    .unwrap();
    let transcripts = recorded.transcript_without_store(&verify);
    settled().bind(|| insta::assert_snapshot!(transcripts));
}

#[tokio::test]
async fn two_promoters_have_to_agree() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let policy = policy(1, 1, 2, [3, 4]);
    let root = recorded.path("store");
    let builder = open(&root, &policy, &[2]).await;
    let image = bake(&builder, &with("1.0.0", "1.20.0", "1.8.7")).await;
    let both = open(&root, &policy, &[3, 4]).await;
    promote(&both, &image).await;
    let value = json_of(&file_of(&both).await);
    assert!(verify(&value, Some(&policy)).is_ok());
    let signatures = "/pins/quickstart:prod/proof/set/signatures";
    let mut lines = Vec::new();
    for (what, change) in [
        (
            "one took back",
            json!([value.pointer(signatures).unwrap()[0]]),
        ),
        (
            "one signed twice",
            json!([
                value.pointer(signatures).unwrap()[0],
                value.pointer(signatures).unwrap()[0]
            ]),
        ),
    ] {
        let mut value = value.clone();
        *value.pointer_mut(signatures).unwrap() = change;
        // The same entry is the end of the log, and must have the same digest there.
        let error = verify(&value, None).unwrap_err();
        assert!(error.is_integrity());
        lines.push(format!("{what}: {error}"));
    }
    settled().bind(|| insta::assert_snapshot!(lines.join("\n")));
}

#[tokio::test]
async fn pins_outlive_a_rotated_policy() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let (old, new) = (policy(1, 1, 2, [3, 4]), policy(2, 1, 5, [4, 6]));
    let root = recorded.path("store");
    let image = bake(
        &open(&root, &old, &[2]).await,
        &with("1.0.0", "1.20.0", "1.8.7"),
    )
    .await;
    promote(&open(&root, &old, &[3, 4]).await, &image).await;
    let before = file_of(&open(&root, &old, &[]).await).await;
    let update = Body::TrustUpdate { trust: new.clone() };
    let id = uuid::Uuid::from_u128(7);
    let roots = open(&root, &old, &[1]).await;
    roots.append(id, now(), update).await.unwrap();

    // A pin from before the change in a file from after it: the old policy applies to the pin, and
    // both to the file.
    let after = file_of(&roots).await;
    for given in [None, Some(&old), Some(&new)] {
        after.verify(given).unwrap();
    }
    before.verify(Some(&old)).unwrap();
    let error = before.verify(Some(&new)).unwrap_err();
    assert!(matches!(error, PinError::UntrustedPolicy { .. }) && error.is_integrity());
    let proved = after.verify(Some(&new)).unwrap();
    settled().bind(|| insta::assert_snapshot!(proved.to_string()));

    // With the new keys and the store, the proof is complete.
    let second = bake(
        &open(&root, &old, &[5]).await,
        &with("1.0.1", "1.20.0", "1.8.7"),
    )
    .await;
    promote(&open(&root, &old, &[4, 6]).await, &second).await;
    fs::write(recorded.path(FILE), before.to_text()).unwrap();
    fs::write(recorded.path("trust.json"), new.to_bytes()).unwrap();
    let transcripts = [
        recorded.transcript(&["pin", "--update"]),
        recorded.transcript(&["verify", "--pins", FILE, "--trust", "trust.json"]),
    ];
    let mut settings = settled();
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!(transcripts.join("\n")));

    // A policy that the previous roots did not sign.
    let mut value = json_of(&after);
    value["store"]["trust_updates"] = json!([]);
    let hidden = verify(&value, None).unwrap_err();
    assert!(hidden.is_integrity());
    let twice = json_of(&after)["store"]["trust_updates"][0].clone();
    value["store"]["trust_updates"] = json!([twice, twice]);
    let error = verify(&value, None).unwrap_err();
    settled().bind(|| insta::assert_snapshot!(format!("{hidden}\n{error}")));

    // Not visible in any entry of the file: only the store or your own policy can detect it.
    let file = file_of(&open(&root, &old, &[]).await).await;
    let mut value = json_of(&file);
    value["store"]
        .as_object_mut()
        .unwrap()
        .remove("trust_updates");
    let error = verify(&value, None).unwrap_err();
    assert!(
        error.is_integrity(),
        "the new keys are not in the old policy: {error}"
    );
}

#[tokio::test]
async fn entries_that_the_store_never_had_are_noticed_by_it() {
    // An attacker with the keys can sign entries of any number, but the store's log does not
    // contain them.
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let file = pinned(&recorded).await;
    let other = RecordedStore::new(crate::VAULT_BAKE);
    let foreign = pinned(&other).await;
    let mut value = json_of(&file);
    // Proofs of the other store have the same image and manifest, and a signature of the same key.
    for of in ["recorded", "set", "manifest"] {
        let path = format!("/pins/quickstart:prod/proof/{of}");
        *value.pointer_mut(&path).unwrap() = json_of(&foreign).pointer(&path).unwrap().clone();
    }
    // The file alone cannot prove this, which `verify` reports; the store can.
    let mixed = PinFile::parse("pins", value.to_string().as_bytes()).unwrap();
    let open = mixed.verify(Some(&trust())).unwrap().not_proved.join("\n");
    assert!(
        open.contains("that the log of the store has these entries"),
        "{open}"
    );
    let store = recorded.store().await;
    let history = store.history().await.unwrap();
    let error = mixed
        .check_store_lineage(&store, &history)
        .await
        .unwrap_err();
    assert!(error.is_integrity());
    settled().bind(|| insta::assert_snapshot!(error.to_string()));
    file.check_store_lineage(&store, &history).await.unwrap();
}

#[tokio::test]
async fn a_hidden_change_of_policy_shows_to_the_store_and_to_those_who_have_the_policy() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let (old, new) = (policy(1, 1, 2, [3, 4]), policy(2, 1, 2, [3, 4]));
    let root = recorded.path("store");
    let image = with("1.0.0", "1.20.0", "1.8.7");
    let image = bake(&open(&root, &old, &[2]).await, &image).await;
    let update = Body::TrustUpdate { trust: new.clone() };
    let id = uuid::Uuid::from_u128(7);
    let roots = open(&root, &old, &[1]).await;
    roots.append(id, now(), update).await.unwrap();
    let store = open(&root, &old, &[3, 4]).await;
    promote(&store, &image).await;
    let mut value = json_of(&file_of(&store).await);
    value["store"]
        .as_object_mut()
        .unwrap()
        .remove("trust_updates");
    // Both policies allow the same, so the file alone cannot detect it.
    assert!(verify(&value, None).is_ok() && verify(&value, Some(&old)).is_ok());
    assert!(verify(&value, Some(&new)).unwrap_err().is_integrity());
    let file = PinFile::parse("pins", value.to_string().as_bytes()).unwrap();
    let history = store.history().await.unwrap();
    let error = file
        .check_store_lineage(&store, &history)
        .await
        .unwrap_err();
    assert!(error.is_integrity());
    insta::assert_snapshot!(error.to_string());
}
