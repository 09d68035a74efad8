//! Trusted signatures: roles, rotation, forgeries.

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::signing::{key, signer};
use vault_bake::sign::{PublicKey, Trust};
use vault_bake::store::event::Body;
use vault_bake::store::{Depth, Dir, Store, StoreError};
use vault_bake::wait::Interrupt;

use super::{append_as, now, put, store, test_record};

fn public(n: u8) -> PublicKey {
    key(n).public().clone()
}

/// A policy in which key 1 is root, key 2 builds images named `quick*`, and 3 and 4 together
/// promote to `prod`.
fn team(version: u64) -> Value {
    let ids = |numbers: &[u8]| -> Vec<String> {
        let ids = numbers.iter().map(|n| public(*n).id().to_string());
        ids.collect()
    };
    let keys: serde_json::Map<String, Value> = (1..=4)
        .map(|n| (public(n).id().to_string(), json!(public(n))))
        .collect();
    json!({
        "schema": "https://vault-bake.dev/trust/v1", "version": version, "keys": keys,
        "grants": [
            { "role": "root", "keys": ids(&[1]) },
            { "role": "builder", "keys": ids(&[2]), "images": ["quick*"] },
            { "role": "promoter", "keys": ids(&[3, 4]), "threshold": 2, "channels": ["prod"] },
        ],
    })
}

fn policy(value: &Value) -> Trust {
    Trust::from_json(value.to_string().as_bytes()).unwrap()
}

/// Opens the store with these signing keys.
async fn with_keys(folder: &TempDir, keys: &[u8]) -> Store<Dir> {
    let store = Store::open(Dir::new(folder.path().join("store"))).await;
    let signers = keys.iter().map(|n| signer(*n)).collect();
    store.unwrap().with_signers(signers, Interrupt::default())
}

#[tokio::test]
async fn each_key_may_do_what_its_role_says() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    Store::open_or_create(Dir::new(&root), &policy(&team(1)), now())
        .await
        .unwrap();
    let builder = with_keys(&folder, &[2]).await;
    let digest = put(&builder, "1.0.0", "disk").await.unwrap();
    let record = test_record(digest, true);
    builder.put_test(&record, now()).await.unwrap();
    let promote = async |keys: &[u8], channel| {
        let store = with_keys(&folder, keys).await;
        let set = store
            .plan_promotion(&digest, channel, None, None, now())
            .await?;
        store.move_channel(set, now()).await
    };
    let mut lines = Vec::new();
    let root_builds = put(&with_keys(&folder, &[1]).await, "1.0.1", "other").await;
    lines.push(root_builds.unwrap_err().to_string());
    lines.push(promote(&[2], "prod").await.unwrap_err().to_string());
    lines.push(promote(&[3], "prod").await.unwrap_err().to_string());
    lines.push(promote(&[3, 4], "staging").await.unwrap_err().to_string());
    let unsigned = put(&with_keys(&folder, &[]).await, "1.0.1", "other").await;
    lines.push(unsigned.unwrap_err().to_string());
    promote(&[3, 4], "prod").await.unwrap();
    insta::assert_snapshot!(lines.join("\n"));

    // A writer that ignores the rules gains nothing.
    let set = json!({
        "image": "quickstart", "channel": "qa", "generation": 1, "to": digest, "reason": "promote",
    });
    append_as(3, &builder, "channel.set", set, json!({})).await;
    let history = builder.history().await.unwrap();
    insta::assert_snapshot!(history.voids()[0].why);
    assert_eq!(history.channels().count(), 1);
    assert!(builder.verify(Depth::Artifacts).await.unwrap().is_sound());
}

#[tokio::test]
async fn an_entry_by_an_unknown_key_stops_readers() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    put(&store, "1.0.0", "disk").await.unwrap();
    let body = json!({ "revocation": 1, "why": "x" });
    append_as(9, &store, "restore", body, json!({})).await;
    let error = store.history().await.err().unwrap();
    assert!(error.is_integrity());
    let error = error
        .to_string()
        .replace(&public(9).id().to_string(), "KEY 9");
    insta::assert_snapshot!(error);
    let report = store.verify(Depth::Records).await.unwrap();
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_policy_changes_by_roots_of_both_and_covers_later_entries_only() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    put(&store, "1.0.0", "disk").await.unwrap();
    let update = |value: &Value| Body::TrustUpdate {
        trust: policy(value),
    };
    let id = uuid::Uuid::from_u128;
    let mut handed_over = team(2);
    handed_over["grants"][0]["keys"] = json!([public(4).id()]);
    let set = async |keys: &[u8], n, value: &Value| {
        let store = with_keys(&folder, keys).await;
        store.append(id(n), now(), update(value)).await
    };
    let mut lines = Vec::new();
    lines.push(set(&[2], 1, &team(2)).await.unwrap_err().to_string());
    lines.push(set(&[1], 2, &team(3)).await.unwrap_err().to_string());
    lines.push(set(&[1], 3, &handed_over).await.unwrap_err().to_string());
    insta::assert_snapshot!(lines.join("\n"));
    set(&[1], 4, &team(2)).await.unwrap();
    let refused = put(&store, "1.0.1", "disk 1").await.unwrap_err();
    assert!(
        matches!(refused, StoreError::NotAllowed { .. }),
        "{refused}"
    );
    put(&with_keys(&folder, &[2]).await, "1.0.1", "disk 1")
        .await
        .unwrap();
    // Records from the time before the rotation stay valid.
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.manifests == 2, "{report}");

    let believing = |value: Trust| async {
        let store = Store::open(Dir::new(&root)).await.unwrap();
        store.with_trust(value).history().await.map(|_| ())
    };
    believing(policy(&team(2))).await.unwrap();
    believing(testing::signing::trust()).await.unwrap();
    let error = believing(policy(&team(3))).await.unwrap_err();
    assert!(error.is_integrity());
}

#[test]
fn policies_that_cannot_work_are_refused() {
    type Change = dyn Fn(&mut Value);
    let table: [(&str, &Change); 9] = [
        ("schema", &|it| it["schema"] = "x".into()),
        ("unknown field", &|it| it["more"] = 1.into()),
        ("no root", &|it| {
            it["grants"].as_array_mut().unwrap().remove(0);
        }),
        ("threshold 0", &|it| it["grants"][0]["threshold"] = 0.into()),
        ("threshold above", &|it| {
            it["grants"][0]["threshold"] = 2.into();
        }),
        ("unknown key", &|it| {
            it["grants"][0]["keys"] = json!([public(9).id()]);
        }),
        ("key under another id", &|it| {
            let (one, two) = (public(1).id().to_string(), json!(public(2)));
            it["keys"][one] = two;
        }),
        ("no key", &|it| {
            let one = public(1).id().to_string();
            it["keys"][one] = "AAAA".into();
        }),
        ("unknown role", &|it| {
            it["grants"][0]["role"] = "king".into();
        }),
    ];
    let mut lines = Vec::new();
    for (what, change) in table {
        let mut value = team(1);
        change(&mut value);
        let error = Trust::from_json(value.to_string().as_bytes()).unwrap_err();
        lines.push(format!("{what}: {error}"));
    }
    let text = lines.join("\n");
    let text = (1..=9).fold(text, |text, n| {
        text.replace(&public(n).id().to_string(), &format!("KEY {n}"))
    });
    insta::assert_snapshot!(text);
}
