//! Names and bytes of blobs: created once, and found again.

use std::num::NonZero;

use vault_bake::azure::AzureTransport;
use vault_bake::digest::Digest;
use vault_bake::secret::Secret;
use vault_bake::store::backend::{Backend as _, BackendError, Created};
use vault_bake::store::blob::{Blob, Credential};

use super::server::{Azurite, azurite, open, sas, sas_until, url};
use super::{read, won};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_created_once_listed_and_guarded() {
    let Some(azurite) = azurite() else { return };
    tokio::join!(
        a_name_is_created_once_and_read_as_often_as_one_likes(&azurite),
        a_list_has_all_pages_sorted_and_nothing_of_the_neighbours(&azurite),
        of_two_writers_of_a_name_one_wins_two_hundred_times(&azurite),
        of_sixty_four_writers_of_an_entry_one_wins(&azurite),
        an_error_of_the_service_shows_no_signature(&azurite),
    );
}

async fn a_name_is_created_once_and_read_as_often_as_one_likes(azurite: &Azurite) {
    let blob = azurite.blob("names").await;
    let name = "log/entries/000/000/001";
    assert_eq!(blob.get(name).await.unwrap(), None);
    assert!(!blob.exists(name).await.unwrap());
    assert_eq!(blob.digest(name).await.unwrap(), None);
    assert_eq!(blob.create(name, b"first").await.unwrap(), Created::New);
    assert_eq!(blob.create(name, b"first").await.unwrap(), Created::Exists);
    assert_eq!(blob.create(name, b"other").await.unwrap(), Created::Exists);
    assert_eq!(read(&blob, name).await, b"first");
    assert!(blob.exists(name).await.unwrap());
    assert_eq!(
        blob.digest(name).await.unwrap(),
        Some(Digest::hash_bytes("first"))
    );

    assert_eq!(blob.create("empty", b"").await.unwrap(), Created::New);
    assert_eq!(read(&blob, "empty").await, b"");
    assert_eq!(
        blob.digest("empty").await.unwrap(),
        Some(Digest::hash_bytes(""))
    );
    for name in ["../x", "/x", "a//b", "a b", "a%2Fb", "a?b", ""] {
        let refused = blob.create(name, b"x").await;
        assert!(matches!(refused, Err(BackendError::Name(_))), "{name}");
    }
}

async fn a_list_has_all_pages_sorted_and_nothing_of_the_neighbours(azurite: &Azurite) {
    let whole = azurite.blob("paged").await;
    let address = format!("{}/team-a/store", azurite.url("paged"));
    let credential = Credential::Sas(Secret::new(sas("paged", "rcwl")));
    let wire = AzureTransport::real(jiff::Timestamp::default);
    let below = Blob::new(address.parse().unwrap(), &credential, &wire).unwrap();
    assert_eq!(below.location(), address);
    let mut wanted: Vec<String> = (0..25)
        .map(|at| format!("objects/{:02}/x", at * 7 % 25))
        .collect();
    // A repeated create finds its own name if the response was lost. The lists below show all
    // names.
    for name in &wanted {
        below.create(name, name.as_bytes()).await.unwrap();
    }
    wanted.sort();
    for name in [
        "team-a/store-2/objects/zz",
        "objects/zz",
        "team-a/store/objects-2/zz",
    ] {
        whole.create(name, b"a neighbour").await.unwrap();
    }
    for page in [1, 7, 24, 25, 26] {
        let paged = below.clone().with_page_size(NonZero::new(page).unwrap());
        assert_eq!(
            paged.list("objects/").await.unwrap(),
            wanted,
            "{page} a page"
        );
    }
    assert_eq!(below.list("objects/").await.unwrap(), wanted);
    assert!(below.list("log/").await.unwrap().is_empty());
    assert_eq!(whole.list("objects/").await.unwrap(), ["objects/zz"]);
}

async fn of_two_writers_of_a_name_one_wins_two_hundred_times(azurite: &Azurite) {
    let first = azurite.blob("races").await;
    let second = open(azurite.port, "races");
    for round in 0..200 {
        let name = format!("log/entries/000/000/{round:03}");
        let (one, two) = tokio::join!(first.create(&name, b"one"), second.create(&name, b"two"));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(won(&[one, two]), 1, "{name}");
        let winner: &[u8] = if one == Created::New { b"one" } else { b"two" };
        assert_eq!(read(&first, &name).await, winner, "{name}");
    }
}

async fn of_sixty_four_writers_of_an_entry_one_wins(azurite: &Azurite) {
    let blob = azurite.blob("crowd").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let blob = open(azurite.port, "crowd");
        writers.spawn(async move {
            let bytes = format!("writer {writer}");
            (
                blob.create("log/entries/000/000/001", bytes.as_bytes())
                    .await
                    .unwrap(),
                bytes,
            )
        });
    }
    let results = writers.join_all().await;
    let winners: Vec<&String> = results
        .iter()
        .filter_map(|(created, bytes)| (*created == Created::New).then_some(bytes))
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(
        read(&blob, "log/entries/000/000/001").await,
        winners[0].as_bytes()
    );
}

async fn an_error_of_the_service_shows_no_signature(azurite: &Azurite) {
    let blob = azurite.blob("guarded").await;
    blob.create("there", b"1").await.unwrap();
    let with = |container: &str, token: &str| {
        let address = url(azurite.port, container).parse().unwrap();
        let wire = AzureTransport::real(jiff::Timestamp::default);
        Blob::new(address, &Credential::Sas(Secret::new(token)), &wire).unwrap()
    };
    let whole = sas("guarded", "rcwl");
    let signature = whole.split_once("sig=").unwrap().1.to_owned();
    let mut forged = whole.clone();
    forged.truncate(forged.len() - 8);
    forged += "AAAAA%3D";
    let expired = sas_until("guarded", "rcwl", "2020-01-01T00:00:00Z");
    let elsewhere = sas("other", "rcwl");
    let read_only = sas("guarded", "rl");
    let mut printed = Vec::new();
    for (case, container, token) in [
        ("no container", "missing", &sas("missing", "rcwl")),
        ("forged", "guarded", &forged),
        ("expired", "guarded", &expired),
        ("for another container", "guarded", &elsewhere),
        ("read only", "guarded", &read_only),
    ] {
        let blob = with(container, token);
        let errors = [
            blob.get("there").await.err(),
            blob.exists("there").await.err(),
            blob.list("log/").await.err(),
            blob.create("new", b"2").await.err(),
        ];
        for (what, error) in ["get", "exists", "list", "create"].iter().zip(errors) {
            let text = error.map_or_else(|| "fine".to_owned(), |error| error.to_string());
            let found = format!("{text} {:?}", blob.get("x").await.err());
            assert!(
                !found.contains("sig=") && !found.contains(&signature[..12]),
                "{found}"
            );
            printed.push(format!("{case}: {what}: {text}"));
        }
    }
    // A credential that cannot overwrite suffices for records, but not for the blocks of an
    // artifact.
    let creator = with("guarded", &sas("guarded", "rcl"));
    assert_eq!(
        creator.create("there", b"2").await.unwrap(),
        Created::Exists
    );
    assert_eq!(creator.create("fresh", b"2").await.unwrap(), Created::New);
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("disk");
    std::fs::write(&from, "disk").unwrap();
    let sent = creator
        .create_file("disk", &from, &Digest::hash_bytes("disk"))
        .await;
    printed.push(format!("without `w`: create_file: {}", sent.unwrap_err()));
    insta::with_settings!({filters => vec![(r"127\.0\.0\.1:\d+", "SERVER"), (r"20\d\d-[-0-9T:.]+Z", "TIME")]}, {
        insta::assert_snapshot!(printed.join("\n"));
    });
}
