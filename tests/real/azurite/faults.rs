//! Faults of networks and services, for a writer and a reader.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use vault_bake::digest::Digest;
use vault_bake::store::backend::{Backend as _, BackendError, Created};
use vault_bake::store::{Blob, Depth, Store};

use super::proxy::{Fault, Proxy, Rule};
use super::read;
use super::server::{Azurite, azurite, open};
use testing::crash_test::{now, put};
use testing::signing::signed_store;

/// Creates the next name under the rules.
async fn create(
    proxy: &Proxy,
    blob: &Blob,
    name: &str,
    rules: &[Rule],
) -> Result<Created, BackendError> {
    proxy.rules(rules);
    let created = blob.create(name, b"ours").await;
    assert!(proxy.all_used(), "{name}: a fault did not happen");
    created
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disturbed_requests_lose_nothing_and_claim_nothing() {
    let Some(azurite) = azurite() else { return };
    tokio::join!(
        a_create_that_was_disturbed_happened_once_or_not_at_all(&azurite),
        retry_after_is_obeyed(&azurite),
        a_refusal_means_taken_only_where_something_is_there(&azurite),
        a_reader_that_was_disturbed_reads_on(&azurite),
        a_record_whose_every_answer_is_lost_is_there_once(&azurite),
        a_service_that_is_gone_is_given_up_after_a_while(),
    );
}

async fn a_create_that_was_disturbed_happened_once_or_not_at_all(azurite: &Azurite) {
    let direct = azurite.blob("disturbed").await;
    let proxy = Proxy::before(azurite.port).await;
    let blob = open(proxy.port, "disturbed");
    // The writer finds an unacknowledged create, but does not claim it.
    for (name, fault, expected) in [
        ("answer-lost", Fault::LoseAnswer, Created::Exists),
        (
            "failed-after-commit",
            Fault::AnswerInstead(500),
            Created::Exists,
        ),
        (
            "gateway-gave-up",
            Fault::AnswerInstead(504),
            Created::Exists,
        ),
        ("answer-cut", Fault::CutAnswer, Created::Exists),
        ("request-cut", Fault::CutRequest, Created::New),
        (
            "throttled",
            Fault::Refuse(429, "TooManyRequests", 0),
            Created::New,
        ),
        (
            "internal",
            Fault::Refuse(500, "InternalError", 0),
            Created::New,
        ),
    ] {
        let created = create(&proxy, &blob, name, &[("PUT", name, fault)]).await;
        assert_eq!(created.unwrap(), expected, "{name}");
        assert_eq!(proxy.count("PUT"), 2, "{name}: tried again once");
        assert_eq!(read(&direct, name).await, b"ours", "{name}");
    }
    // Another writer was faster while the response was lost: its content stays.
    direct.create("theirs", b"theirs").await.unwrap();
    let rules = [("PUT", "theirs", Fault::CutRequest)];
    assert_eq!(
        create(&proxy, &blob, "theirs", &rules).await.unwrap(),
        Created::Exists
    );
    assert_eq!(read(&blob, "theirs").await, b"theirs");
}

async fn retry_after_is_obeyed(azurite: &Azurite) {
    azurite.container("patient").await;
    let proxy = Proxy::before(azurite.port).await;
    let blob = open(proxy.port, "patient");
    let rules = [("PUT", "busy", Fault::Refuse(503, "ServerBusy", 2))];
    let began = Instant::now();
    assert_eq!(
        create(&proxy, &blob, "busy", &rules).await.unwrap(),
        Created::New
    );
    let waited = began.elapsed();
    assert!((2..10).contains(&waited.as_secs()), "{waited:?}");
}

async fn a_refusal_means_taken_only_where_something_is_there(azurite: &Azurite) {
    let direct = azurite.blob("rules").await;
    let proxy = Proxy::before(azurite.port).await;
    let blob = open(proxy.port, "rules");
    let mut printed = Vec::new();
    for (status, code, there) in [
        (409, "BlobAlreadyExists", true),
        (409, "BlobAlreadyExists", false),
        (412, "ConditionNotMet", true),
        (412, "ConditionNotMet", false),
        (412, "LeaseIdMissing", true),
        (409, "BlobImmutableDueToPolicy", true),
        (403, "UnauthorizedBlobOverwrite", true),
        (403, "AuthorizationPermissionMismatch", true),
        (403, "AuthorizationPermissionMismatch", false),
        (403, "AuthenticationFailed", true),
        (409, "ContainerBeingDeleted", true),
        (409, "AccountBeingCreated", false),
        (404, "ContainerNotFound", false),
        (400, "InvalidBlobOrBlock", true),
    ] {
        let name = format!("{status}-{code}-{there}");
        if there {
            direct.create(&name, b"theirs").await.unwrap();
        }
        let rules = [("PUT", "rules", Fault::Refuse(status, code, 0))];
        let created = create(&proxy, &blob, &name, &rules).await;
        let message =
            created.map_or_else(|error| error.to_string(), |created| format!("{created:?}"));
        printed.push(format!("{status} {code}, there: {there} -> {message}"));
    }
    insta::with_settings!({filters => vec![(r"127\.0\.0\.1:\d+", "SERVER")]}, {
        insta::assert_snapshot!(printed.join("\n"));
    });
}

async fn a_reader_that_was_disturbed_reads_on(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    let direct = azurite.blob("read").await;
    let proxy = Proxy::before(azurite.port).await;
    let blob = open(proxy.port, "read");
    direct.create("record", &[b'r'; 50_000]).await.unwrap();
    for fault in [
        Fault::CutAnswer,
        Fault::LoseAnswer,
        Fault::Refuse(503, "ServerBusy", 0),
    ] {
        proxy.rules(&[("GET", "record", fault)]);
        assert_eq!(read(&blob, "record").await, [b'r'; 50_000]);
        assert!(proxy.all_used());
        assert_eq!(proxy.count("GET"), 2);
    }
    proxy.rules(&[
        ("HEAD", "record", Fault::LoseAnswer),
        ("GET", "comp=list", Fault::CutAnswer),
    ]);
    assert!(blob.exists("record").await.unwrap());
    assert_eq!(blob.list("objects/").await.unwrap(), [""; 0]);
    assert!(proxy.all_used());

    // Sends and fetches an artifact of three blocks over a bad line. Only the failed block is
    // repeated.
    let disk: Vec<u8> = (0..10_000_000_u32).map(|at| (at / 1000) as u8).collect();
    let (digest, from, to) = (
        Digest::hash_bytes(&disk),
        folder.path().join("from"),
        folder.path().join("to"),
    );
    std::fs::write(&from, &disk).unwrap();
    proxy.rules(&[
        ("PUT", "comp=block&", Fault::CutRequest),
        ("PUT", "comp=block&", Fault::LoseAnswer),
        (
            "PUT",
            "comp=blocklist",
            Fault::Refuse(500, "InternalError", 0),
        ),
    ]);
    assert_eq!(
        blob.create_file("artifacts/disk", &from, &digest)
            .await
            .unwrap(),
        Created::New
    );
    assert!(proxy.all_used());
    assert_eq!(proxy.count("PUT"), 3 + 2 + 2);
    proxy.rules(&[
        ("GET", "disk", Fault::CutAnswer),
        ("GET", "disk", Fault::LoseAnswer),
    ]);
    assert_eq!(
        blob.fetch_file("artifacts/disk", &to).await.unwrap(),
        Some(digest)
    );
    assert!(std::fs::read(&to).unwrap() == disk && proxy.all_used());
    assert_eq!(proxy.count("GET"), 3 + 2);
    // The commit succeeded, and its response was lost.
    proxy.rules(&[("PUT", "comp=blocklist", Fault::LoseAnswer)]);
    assert_eq!(
        blob.create_file("artifacts/again", &from, &digest)
            .await
            .unwrap(),
        Created::Exists
    );
    assert_eq!(
        direct.digest("artifacts/again").await.unwrap(),
        Some(digest)
    );
}

async fn a_record_whose_every_answer_is_lost_is_there_once(azurite: &Azurite) {
    let folder = TempDir::new().unwrap();
    azurite.container("lossy").await;
    let proxy = Proxy::before(azurite.port).await;
    let store = signed_store(open(proxy.port, "lossy"), now()).await;
    for round in 0..3 {
        proxy.rules(&[
            ("PUT", "artifacts", Fault::LoseAnswer),
            ("PUT", "objects", Fault::LoseAnswer),
            ("PUT", "log%2F", Fault::LoseAnswer),
        ]);
        let version = format!("1.0.{round}");
        put(&store, folder.path(), &version, &version)
            .await
            .unwrap();
        assert!(proxy.all_used());
    }
    let store = Store::open(open(azurite.port, "lossy")).await.unwrap();
    let report = store.verify(Depth::Artifacts).await.unwrap();
    assert!(report.is_sound() && report.voids.is_empty(), "{report:#?}");
    assert_eq!((report.entries, report.manifests), (3, 3));
}

async fn a_service_that_is_gone_is_given_up_after_a_while() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let began = Instant::now();
    let error = open(port, "nowhere").get("store.json").await.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    let text = error.to_string().replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(text, @"cannot access store.json in http://127.0.0.1:PORT/devstoreaccount1/nowhere: the service could not be reached, or the connection broke: Connection refused (os error 111)");
}
