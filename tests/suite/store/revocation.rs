//! Revocation rules: the images that each covers, now and later.

use std::collections::BTreeSet;

use tempfile::TempDir;
use testing::sample::{digest, release, sample};
use vault_bake::digest::Digest;
use vault_bake::manifest::Manifest;
use vault_bake::store::event::{Body, Revoke};
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Store, StoreError};

use super::{now, put_as, store};

/// Quickstart 1.0.0 with Vault 1.20.0, 1.0.1 with 1.21.1; `app` 2.0.0 from the artifact of the
/// first.
async fn family(store: &Store<Dir>) -> Vec<Digest> {
    let old = Manifest {
        releases: vec![release("vault", "1.20.0", true)],
        ..sample("1.0.0", "first")
    };
    let mut child = Manifest {
        image: "app".into(),
        releases: vec![],
        ..sample("2.0.0", "child")
    };
    child.base.disk_sha256 = Some(digest("first"));
    let mut digests = Vec::new();
    for (manifest, disk) in [
        (old, "first"),
        (sample("1.0.1", "second"), "second"),
        (child, "child"),
    ] {
        digests.push(put_as(store, &manifest, disk).await.unwrap());
    }
    digests
}

fn revoke(rule: Rule) -> Revoke {
    Revoke {
        rule,
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: None,
    }
}

async fn names(store: &Store<Dir>, rule: &Rule) -> Vec<String> {
    let history = store.history().await.unwrap();
    let affected = store.affected(&history, rule).await.unwrap();
    affected.iter().map(|one| one.put.name()).collect()
}

#[tokio::test]
async fn each_rule_finds_what_it_is_about_and_what_was_made_from_it() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let family = family(&store).await;
    let versions = |image: &str, from: Option<&str>, to: Option<&str>| Rule::Versions {
        image: image.into(),
        from: from.map(|text| text.parse().unwrap()),
        to: to.map(|text| text.parse().unwrap()),
    };
    let release = |product: &str, below: &str| Rule::Release {
        product: product.into(),
        below: below.into(),
    };
    let package = |name: &str, below: &str| Rule::Package {
        name: name.into(),
        below: below.into(),
    };
    let rules = [
        Rule::Manifests {
            manifests: BTreeSet::from([family[1]]),
        },
        Rule::Manifests {
            manifests: BTreeSet::from([family[0]]),
        },
        versions("quickstart", None, None),
        versions("quick*", Some("1.0.1"), Some("1.0.9")),
        versions("quickstart", None, Some("0.9.9")),
        release("vault", "1.21.0"),
        release("vault", "1.21.2"),
        release("consul", "1.8.0"),
        Rule::Input {
            digest: digest("bookworm"),
        },
        Rule::Input {
            digest: digest("vault binary 1.20.0"),
        },
        Rule::Input {
            digest: digest("nothing"),
        },
        package("openssl", "3.0.17-1~deb12u3"),
        package("openssl", "3.0.17-1"),
        package("libssl3", "4"),
    ];
    let mut lines = Vec::new();
    for rule in &rules {
        assert_eq!(rule.check(), Ok(()));
        lines.push(format!("{rule}: {}", names(&store, rule).await.join(", ")));
    }
    let first = family[0].to_string();
    let second = family[1].to_string();
    let text = lines
        .join("\n")
        .replace(&first, "FIRST")
        .replace(&second, "SECOND");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_rule_covers_later_images_until_it_is_restored() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    let rule = Rule::Release {
        product: "vault".into(),
        below: "1.21.0".into(),
    };
    let scheduled = Revoke {
        effective_at: "2027-01-01T00:00:00Z".parse().unwrap(),
        why: "end of life".into(),
        ..revoke(Rule::Versions {
            image: "*".into(),
            from: None,
            to: None,
        })
    };
    let id = uuid::Uuid::from_u128;
    let append = async |n, body| store.append(id(n), now(), body).await;
    append(1, Body::Revoke(revoke(rule))).await.unwrap();
    append(2, Body::Revoke(scheduled)).await.unwrap();
    let family = family(&store).await;
    let states = async || {
        let history = store.history().await.unwrap();
        let mut lines = Vec::new();
        for digest in &family {
            let name = history.by_digest(digest).unwrap().put.name();
            let standing = store.revocation_status(&history, digest, now());
            let standing = standing.await.unwrap();
            let whys = |list: &[vault_bake::store::history::Revocation]| {
                let whys: Vec<&str> = list.iter().map(|one| one.revoke.why.as_str()).collect();
                whys.join(", ")
            };
            let inherited = match &standing.inherited_from {
                Some(from) => format!(" from {}", history.by_digest(from).unwrap().put.name()),
                None => String::new(),
            };
            let (revoked, scheduled) = (whys(&standing.revoked), whys(&standing.scheduled));
            lines.push(format!(
                "{name} good={} revoked[{revoked}] scheduled[{scheduled}]{inherited}",
                standing.is_good()
            ));
        }
        lines.join("\n")
    };
    insta::assert_snapshot!(states().await);
    let restore = |revocation| Body::Restore {
        revocation,
        why: "a mistake".into(),
    };
    append(3, restore(1)).await.unwrap();
    append(4, restore(1)).await.unwrap();
    insta::assert_snapshot!(states().await);
    let error = append(5, restore(4)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRevocation(4)), "{error}");
}

#[test]
fn rules_that_say_nothing_are_refused() {
    let wrong = [
        Rule::Manifests {
            manifests: BTreeSet::new(),
        },
        Rule::Versions {
            image: "a".into(),
            from: Some("1.0.1".parse().unwrap()),
            to: Some("1.0.0".parse().unwrap()),
        },
        Rule::Release {
            product: "vault".into(),
            below: "1.2".into(),
        },
    ];
    let words: Vec<String> = wrong.iter().map(|rule| rule.check().unwrap_err()).collect();
    insta::assert_snapshot!(words.join("\n"));
}

#[tokio::test]
async fn a_rule_that_says_nothing_is_neither_written_nor_read() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder.path().join("store")).await;
    family(&store).await;
    let nothing = revoke(Rule::Manifests {
        manifests: BTreeSet::new(),
    });
    let id = uuid::Uuid::from_u128(1);
    let body = Body::Revoke(nothing.clone());
    let error = store.append(id, now(), body).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let body = serde_json::json!(nothing);
    super::append_raw(&store, "revoke", body, serde_json::json!({})).await;
    let history = store.history().await.unwrap();
    assert!(history.revocations().is_empty());
    insta::assert_snapshot!(history.voids()[0].why, @"revocation: it lists no manifest");
}
