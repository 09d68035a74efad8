//! Events that several keys sign: from the proposal to the log, and every way it can go wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use testing::signing::{key, signer};
use vault_bake::digest::Digest;
use vault_bake::manifest::Reference;
use vault_bake::pin::PinFile;
use vault_bake::sign::{Envelope, GrantScope, KeyId, PublicKey, Role, Trust};
use vault_bake::store::event::{Body, Proposal, Revoke, SignedProposal};
use vault_bake::store::proof::LogEntry;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Depth, Dir, Store, StoreError};
use vault_bake::wait::Interrupt;

use super::{append_as, files, now, put, test_record};

fn public(n: u8) -> PublicKey {
    key(n).public().clone()
}

fn id(n: u8) -> KeyId {
    public(n).id()
}

fn scope(role: Role) -> GrantScope {
    GrantScope {
        role,
        images: BTreeSet::new(),
        channels: BTreeSet::new(),
    }
}

/// Keys 1 to 3 have all roles, and two of them sign; key 4 only builds.
fn policy() -> Trust {
    let keys = [public(1), public(2), public(3)];
    let team = Trust::team(&keys, 2).unwrap();
    team.with_key(&public(4), &[scope(Role::Builder)]).unwrap()
}

async fn with_keys(folder: &TempDir, keys: &[u8]) -> Store<Dir> {
    let store = Store::open(Dir::new(folder.path().join("store"))).await;
    let signers = keys.iter().map(|n| signer(*n)).collect();
    store
        .unwrap()
        .with_signers(signers, Interrupt::default())
        .for_proposals()
}

/// Pins the channel `prod`.
async fn pinned(store: &Store<Dir>) -> PinFile {
    let history = store.history().await.unwrap();
    let mut pins = PinFile::new("pins", store, &history).await.unwrap();
    pins.add(None, ("quickstart", "prod"), store, &history, now())
        .await
        .unwrap();
    pins
}

/// Makes a store with two tested images.
async fn made() -> (TempDir, [Digest; 2]) {
    let folder = TempDir::new().unwrap();
    let backend = Dir::new(folder.path().join("store"));
    Store::open_or_create(backend, &policy(), now())
        .await
        .unwrap();
    let builder = with_keys(&folder, &[4]).await;
    let mut images = Vec::new();
    for version in ["1.0.0", "1.0.1"] {
        let digest = put(&builder, version, version).await.unwrap();
        let record = test_record(digest, true);
        builder.put_test(&record, now()).await.unwrap();
        images.push(digest);
    }
    (folder, images.try_into().unwrap())
}

/// Proposes that the channel `prod` moves to an image, with key `n`.
async fn move_to(folder: &TempDir, n: u8, image: Digest) -> Result<SignedProposal, StoreError> {
    let store = with_keys(folder, &[n]).await;
    let set = store.plan_promotion(&image, "prod", None, None, now());
    store.propose(Body::ChannelSet(set.await?), now()).await
}

fn revoke(image: Digest) -> Body {
    Body::Revoke(Revoke {
        rule: Rule::Manifests {
            manifests: [image].into(),
        },
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: None,
    })
}

/// Reads the proposal from the store and signs it with key `n`.
async fn sign(folder: &TempDir, n: u8, of: &SignedProposal) -> Result<SignedProposal, StoreError> {
    let store = with_keys(folder, &[n]).await;
    let history = store.history().await?;
    let digest = of.proposal().digest().to_string();
    let found = store.find_proposal(&history, &digest).await?;
    assert!(found.ignored.is_empty(), "{:?}", found.ignored);
    store.sign_proposal(found.signed, now()).await
}

#[tokio::test]
async fn two_of_three_promote_revoke_and_change_the_policy() {
    let (folder, [first, _]) = made().await;
    let cache = TempDir::new().unwrap();
    let cached = async || with_keys(&folder, &[]).await.with_cache(cache.path());
    cached().await.history().await.unwrap();
    let moved = move_to(&folder, 1, first).await.unwrap();
    let without = with_keys(&folder, &[2])
        .await
        .complete(moved.clone(), now())
        .await
        .unwrap_err();
    assert!(
        matches!(without, StoreError::NotAllowed { .. }),
        "{without}"
    );
    let moved = sign(&folder, 3, &moved).await.unwrap();
    // Any key may complete it: the builder does.
    let builder = with_keys(&folder, &[4]).await;
    builder.complete(moved.clone(), now()).await.unwrap();
    builder.complete(moved, now()).await.unwrap();
    let history = builder.history().await.unwrap();
    let generation = history.channel("quickstart", "prod").last().unwrap();
    assert_eq!(generation.to, first);
    assert_eq!(generation.by, BTreeSet::from([id(1), id(3)]));
    let resolved = cached().await;
    let reference: Reference = "quickstart:prod".parse().unwrap();
    assert_eq!(resolved.resolve(&reference).await.unwrap(), first);

    // A pin proves it without the store.
    let pins = pinned(&builder).await;
    pins.verify(Some(&policy())).unwrap();

    let store = with_keys(&folder, &[2]).await;
    let revoked = store.propose(revoke(first), now()).await.unwrap();
    let revoked = sign(&folder, 1, &revoked).await.unwrap();
    store.complete(revoked, now()).await.unwrap();
    assert_eq!(store.history().await.unwrap().revocations().len(), 1);

    let next = policy().with_threshold(&scope(Role::Root), 1).unwrap();
    let trust = store.propose(
        Body::TrustUpdate {
            trust: next.clone(),
        },
        now(),
    );
    let trust = sign(&folder, 3, &trust.await.unwrap()).await.unwrap();
    store.complete(trust, now()).await.unwrap();
    let history = store.history().await.unwrap();
    assert_eq!(*history.trust(), next);
    let pins = PinFile::parse("pins", pins.to_text().as_bytes()).unwrap();
    pins.check_store_lineage(&store, &history).await.unwrap();
    let updated = PinFile::new("pins", &store, &history).await.unwrap();
    updated.verify(Some(&next)).unwrap();
    let (all, broken) = store.proposals(&history).await.unwrap();
    assert_eq!((all.len(), broken.len()), (3, 0));
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report}");
}

#[tokio::test]
async fn a_key_counts_once_and_only_with_the_role() {
    let (folder, [first, _]) = made().await;
    let moved = move_to(&folder, 1, first).await.unwrap();
    let again = sign(&folder, 1, &moved).await.unwrap();
    assert_eq!(again, moved);
    assert_eq!(again.missing(&policy())[0].shortage.count(), 1);
    let store = with_keys(&folder, &[1]).await;
    let mut lines = Vec::new();
    // A file with one signature twice, by people who edit files.
    let mut twice = again.envelope();
    twice.signatures.push(twice.signatures[0].clone());
    let twice = SignedProposal::parse(&twice.to_bytes()).unwrap();
    lines.push(store.complete(twice, now()).await.unwrap_err());
    lines.push(sign(&folder, 4, &moved).await.unwrap_err());
    lines.push(sign(&folder, 9, &moved).await.unwrap_err());
    lines.push(move_to(&folder, 4, first).await.unwrap_err());
    let stranger = with_keys(&folder, &[9]).await;
    let signed = sign(&folder, 2, &moved).await.unwrap();
    lines.push(stranger.complete(signed, now()).await.unwrap_err());
    let build = Body::TestPut {
        manifest: first,
        test: first,
        envelope: first,
        passed: true,
    };
    lines.push(store.propose(build, now()).await.unwrap_err());
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let text = (1..=9).fold(lines.join("\n"), |text, n| {
        text.replace(&id(n).to_string(), &format!("KEY {n}"))
    });
    insta::assert_snapshot!("proposal_keys", text);
    assert_eq!(store.history().await.unwrap().channels().count(), 0);
}

#[tokio::test]
async fn an_outdated_proposal_is_refused_in_words() {
    let (folder, [first, second]) = made().await;
    let old = move_to(&folder, 1, first).await.unwrap();
    let new = move_to(&folder, 2, second).await.unwrap();
    let new = sign(&folder, 1, &new).await.unwrap();
    let store = with_keys(&folder, &[1]).await;
    store.complete(new, now()).await.unwrap();
    let mut lines = vec![sign(&folder, 2, &old).await.unwrap_err()];
    // The entry of the policy outdates all that was proposed before.
    let revoked = store.propose(revoke(first), now()).await.unwrap();
    let next = policy().with_key(&public(5), &[scope(Role::Keeper)]);
    let next = next.unwrap();
    let trust = store.propose(Body::TrustUpdate { trust: next }, now());
    let trust = sign(&folder, 2, &trust.await.unwrap()).await.unwrap();
    store.complete(trust, now()).await.unwrap();
    lines.push(sign(&folder, 2, &revoked).await.unwrap_err());
    let (other, _) = made().await;
    let there = with_keys(&other, &[2]).await;
    lines.push(there.sign_proposal(revoked, now()).await.unwrap_err());
    let lines: Vec<String> = lines
        .iter()
        .map(|error| format!("{error}\nhint: {}", error.hint().unwrap_or_default()))
        .collect();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "DIGEST");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!("proposal_outdated", lines.join("\n")));
}

/// Replaces a file, which is read-only.
fn write(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn no_altered_signature_counts() {
    let (folder, [first, _]) = made().await;
    let moved = move_to(&folder, 1, first).await.unwrap();
    let digest = moved.proposal().digest();
    let store = with_keys(&folder, &[2]).await;
    let history = store.history().await.unwrap();
    let file = files(&folder.path().join("store/proposals")).remove(0);
    let bytes = fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        write(&file, &flipped);
        let found = store.find_proposal(&history, &digest.to_string()).await;
        let counts = found.is_ok_and(|found| !found.signed.signatures().is_empty());
        assert!(!counts, "byte {at} of a file in the store");
        let Ok(altered) = SignedProposal::parse(&flipped) else {
            continue;
        };
        let error = store.sign_proposal(altered, now()).await;
        assert!(error.is_err(), "byte {at} of a file of a person");
    }
    // Another file cannot spoil the proposal.
    write(&file, &bytes);
    fs::write(file.with_file_name("00"), "not a proposal").unwrap();
    let found = store.find_proposal(&history, &digest.to_string()).await;
    let found = found.unwrap();
    assert_eq!((found.signed, found.ignored.len()), (moved, 1));
}

/// A writer that ignores the rules gains nothing.
#[tokio::test]
async fn an_approved_event_has_no_effect_unless_it_is_approved() {
    let (folder, [first, second]) = made().await;
    let (other, _) = made().await;
    let elsewhere = with_keys(&other, &[1, 2]).await;
    let foreign = elsewhere.propose(revoke(first), now()).await.unwrap();
    let store = with_keys(&folder, &[1]).await;
    let one = store.propose(revoke(first), now()).await.unwrap();
    let two = sign(&folder, 2, &one).await.unwrap();
    let both = with_keys(&folder, &[1, 2]).await;
    let later = Proposal {
        policy: Digest::hash_bytes("another policy"),
        ..two.proposal().clone()
    };
    let later = SignedProposal::new(later)
        .with_signatures(&[signer(1), signer(2)], &policy(), &Interrupt::default())
        .await
        .unwrap();
    let mut forged = two.envelope();
    forged.signatures[1].bytes[9] ^= 1;
    let replaced = both.propose(revoke(second), now()).await.unwrap();
    let mut swapped = two.envelope();
    swapped.payload = replaced.envelope().payload;
    let bodies = [
        ("signed by one", one.envelope()),
        ("another store", foreign.envelope()),
        ("another policy", later.envelope()),
        ("forged", forged),
        ("other content", swapped),
        ("good", two.envelope()),
        ("replayed", two.envelope()),
    ];
    for (_, envelope) in &bodies {
        let body: Value = serde_json::from_slice(&envelope.to_bytes()).unwrap();
        append_as(1, &store, "approved", body, json!({})).await;
    }
    let history = store.history().await.unwrap();
    // Void entries with the same proposal did not use it up.
    assert_eq!(history.revocations().len(), 1);
    let voids = history.voids().iter();
    let bodies = bodies.iter().filter(|(what, _)| *what != "good");
    let lines: Vec<String> = voids
        .zip(bodies)
        .map(|(void, (what, _))| format!("{what}: {}", void.why))
        .collect();
    let text = (1..=4).fold(lines.join("\n"), |text, n| {
        text.replace(&id(n).to_string(), &format!("KEY {n}"))
    });
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "DIGEST");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "SHORT");
    settings.bind(|| insta::assert_snapshot!("proposal_voids", text));
    assert_eq!(lines.len(), 6);
}

#[tokio::test]
async fn a_proposal_cannot_contain_what_one_key_signs_or_unknown_fields() {
    let (folder, [first, _]) = made().await;
    let store = with_keys(&folder, &[1]).await;
    let signed = store.propose(revoke(first), now()).await.unwrap();
    let value: Value = serde_json::from_slice(&signed.envelope().payload).unwrap();
    let schema =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/proposal-v1.json"));
    let schema: Value = serde_json::from_str(&schema.unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&value), "{value}");
    for (path, change) in [
        ("/kind", json!("approved")),
        ("/kind", json!("manifest.put")),
        ("/schema", json!("https://vault-bake.dev/proposal/v2")),
        ("/more", json!(1)),
        (
            "/id",
            json!("urn:uuid:019aad5f-0a00-7000-8000-000000000001"),
        ),
        ("/store", json!("sha256:00")),
    ] {
        let mut changed = value.clone();
        changed[&path[1..]] = change.clone();
        let payload = vault_bake::digest::canonical_json(&changed);
        assert!(Proposal::parse(&payload).is_err(), "{path} = {change}");
        assert!(!validator.is_valid(&changed), "{path} = {change}");
    }
    let mut more = value.clone();
    more["body"]["more"] = json!(1);
    let payload = vault_bake::digest::canonical_json(&more);
    assert!(
        Proposal::parse(&payload).is_err(),
        "a field that is not shown"
    );
    let event = Envelope {
        payload_type: "application/vnd.vault-bake.event+json".into(),
        ..signed.envelope()
    };
    assert!(SignedProposal::parse(&event.to_bytes()).is_err());
    assert!(LogEntry::parse(signed.envelope()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_complete_a_proposal_one_records_it() {
    let (folder, [first, _]) = made().await;
    let moved = move_to(&folder, 1, first).await.unwrap();
    let moved = sign(&folder, 2, &moved).await.unwrap();
    let head = with_keys(&folder, &[])
        .await
        .history()
        .await
        .unwrap()
        .head();
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..8 {
        let store = with_keys(&folder, &[racer % 3 + 1]).await;
        let moved = moved.clone();
        racers.spawn(async move { store.complete(moved, now()).await });
    }
    for result in racers.join_all().await {
        result.unwrap();
    }
    let store = with_keys(&folder, &[]).await;
    let history = store.history().await.unwrap();
    assert_eq!(history.head(), head + 1);
    assert_eq!(history.channel("quickstart", "prod").len(), 1);
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report}");
}

/// While people sign, others record builds: that does not outdate the proposal.
#[tokio::test]
async fn a_proposal_stays_open_while_builds_are_recorded() {
    let (folder, [first, _]) = made().await;
    let moved = move_to(&folder, 1, first).await.unwrap();
    let builder = with_keys(&folder, &[4]).await;
    put(&builder, "1.0.2", "later").await.unwrap();
    let moved = sign(&folder, 2, &moved).await.unwrap();
    put(&builder, "1.0.3", "still later").await.unwrap();
    let store = with_keys(&folder, &[2]).await;
    store.complete(moved, now()).await.unwrap();
    assert_eq!(store.history().await.unwrap().channels().count(), 1);
}
