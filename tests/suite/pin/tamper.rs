//! Alters a pin file and expects every change to be detected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use testing::recorded_store::{RecordedStore, bake, now, promote};
use testing::sample::sample;
use testing::signing::key;
use vault_bake::manifest::Manifest;
use vault_bake::pin::PinFile;
use vault_bake::sign::Trust;

/// Returns whether a file with this text is refused, by the parser or by the proof.
fn is_refused(bytes: &[u8]) -> bool {
    match PinFile::parse("pins", bytes) {
        Err(_) => true,
        Ok(file) => match file.verify(None) {
            Ok(_) => false,
            Err(error) => {
                assert!(error.is_integrity(), "{error}");
                true
            }
        },
    }
}

/// Flips `mask` at each of `places`, in several threads. Returns the undetected ones.
fn unnoticed(bytes: &[u8], places: &[usize], mask: u8) -> Vec<usize> {
    let threads = 4;
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mut bytes = bytes.to_vec();
                    let mut found = Vec::new();
                    for at in places.iter().copied().skip(part).step_by(threads) {
                        bytes[at] ^= mask;
                        if !is_refused(&bytes) {
                            found.push(at);
                        }
                        bytes[at] ^= mask;
                    }
                    found
                })
            })
            .collect();
        let mut found: Vec<usize> = parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .collect();
        found.sort_unstable();
        found
    })
}

/// A minimal file with one pin: a policy of three grants, and a manifest without optional fields.
pub async fn small(name: Option<&str>) -> String {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let (id, key) = (key(1).public().id(), key(1).public().clone());
    let grant = |role: &str| json!({ "role": role, "keys": [id] });
    let policy = json!({
        "schema": "https://vault-bake.dev/trust/v1", "version": 1, "keys": { id.to_string(): key },
        "grants": [grant("root"), grant("builder"), grant("promoter")],
    });
    let policy = Trust::from_json(policy.to_string().as_bytes()).unwrap();
    let store = recorded.store_of(&policy, &[1]).await;
    let manifest = Manifest {
        releases: vec![],
        variables: BTreeMap::new(),
        inputs: BTreeSet::new(),
        steps: vec![],
        checks: vec![],
        ..sample("1.0.0", "disk 1.0.0")
    };
    promote(&store, &bake(&store, &manifest).await).await;
    let history = store.history().await.unwrap();
    let mut file = PinFile::new("pins", &store, &history).await.unwrap();
    let of = ("quickstart", "prod");
    file.add(name, of, &store, &history, now()).await.unwrap();
    file.to_text()
}

/// Returns the positions of the payloads' text.
fn payloads(text: &str) -> Vec<std::ops::Range<usize>> {
    let head = "\"payload\": \"";
    let starts = text.match_indices(head).map(|(at, _)| at + head.len());
    starts
        .map(|at| at..at + text[at..].find('"').unwrap())
        .collect()
}

#[tokio::test]
async fn every_byte_counts() {
    let text = small(None).await;
    assert!(!is_refused(text.as_bytes()));
    let payloads = payloads(&text);
    assert_eq!(payloads.len(), 5);
    // Four letters encode three bytes, so every 13th letter covers all four positions.
    let every_13th = |at: &usize| {
        let within = payloads.iter().find(|payload| payload.contains(at));
        within.is_none_or(|payload| (at - payload.start).is_multiple_of(13))
    };
    let places: Vec<usize> = (0..text.len()).filter(every_13th).collect();
    assert_eq!(unnoticed(text.as_bytes(), &places, 1), Vec::<usize>::new());
}

#[tokio::test]
async fn only_the_name_of_a_pin_is_not_signed() {
    let text = small(Some("blue")).await;
    let start = text.find("\"blue\"").unwrap() + 1;
    let places: Vec<usize> = (start - 40..start + 40).collect();
    let name: Vec<usize> = (start..start + 4).collect();
    assert_eq!(unnoticed(text.as_bytes(), &places, 1), name);
    for at in name {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let file = PinFile::parse("pins", &bytes).unwrap();
        let sound = PinFile::parse("pins", text.as_bytes()).unwrap();
        let pins: Vec<_> = file.pins().values().collect();
        assert_eq!(pins, sound.pins().values().collect::<Vec<_>>());
        assert!(file.pin("blue").is_err());
    }
}

#[tokio::test]
async fn what_is_cut_off_or_added_is_noticed_and_layout_is_not() {
    let text = small(None).await;
    let sound = PinFile::parse("pins", text.as_bytes()).unwrap();
    let last = text.rfind('}').unwrap();
    for length in (0..=last).step_by(53) {
        assert!(is_refused(&text.as_bytes()[..length]), "cut at {length}");
    }
    for more in ["x", "{}", "\0", ",", "}"] {
        assert!(
            is_refused((text.clone() + more).as_bytes()),
            "{more:?} added"
        );
    }
    // A change that leaves the value the same is no alteration.
    for (from, to) in [("\n", "\r\n"), ("  ", "\t"), ("\n", " ")] {
        let again = PinFile::parse("pins", text.replace(from, to).as_bytes()).unwrap();
        assert_eq!(again, sound);
        assert!(again.verify(None).is_ok());
    }
}

mod exhaustive {
    use super::{small, unnoticed};

    #[tokio::test]
    async fn every_byte_counts_without_exception() {
        let text = small(None).await;
        let places: Vec<usize> = (0..text.len()).collect();
        for mask in [1, 0x20] {
            // An upper-case letter of a name or key becomes lower case, a space becomes a zero
            // byte.
            assert_eq!(
                unnoticed(text.as_bytes(), &places, mask),
                Vec::<usize>::new()
            );
        }
    }
}
