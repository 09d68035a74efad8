//! Debian's signed indexes, from its mirror.

use std::path::PathBuf;

use vault_bake::event::Events;
use vault_bake::lock::{DEBIAN_KEYRING, Index, LockError, Network};
use vault_bake::wait::Interrupt;

const MIRROR: &str = "http://deb.debian.org/debian";

fn network(now: &str) -> Network {
    Network {
        azure: None,
        keyring: PathBuf::from(DEBIAN_KEYRING),
        now: now.parse().expect("a time"),
    }
}

#[tokio::test]
async fn a_suite_is_locked_with_its_date_and_digest() {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let index = network("2024-01-01T00:00:00Z")
        .suite(MIRROR, "bookworm", &events, &interrupt)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (index.mirror.as_str(), index.suite.as_str()),
        (MIRROR, "bookworm")
    );
    let date: jiff::Timestamp = index.date.parse().expect("RFC 3339");
    assert!(
        date > "2023-06-10T00:00:00Z".parse().expect("a time"),
        "{date}"
    );
}

#[tokio::test]
async fn an_expired_index_is_refused() {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let error = network("2999-01-01T00:00:00Z")
        .suite(
            "http://deb.debian.org/debian-security",
            "bookworm-security",
            &events,
            &interrupt,
        )
        .await
        .expect_err("it has expired by then");
    assert!(error.to_string().contains("it expired at"), "{error}");
}

/// Replaces one signed index by another, and changes one byte.
#[tokio::test]
async fn an_index_that_is_not_what_it_should_be_is_refused() {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let url = format!("{MIRROR}/dists/bookworm/InRelease");
    let bytes = vault_bake::http::fetch_bytes(&url, 1 << 22, &events, &interrupt)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = format!("file://{}", folder.path().display());
    let network = network("2024-01-01T00:00:00Z");
    let put = |suite: &str, bytes: &[u8]| {
        let folder = folder.path().join("dists").join(suite);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("InRelease"), bytes).expect("a file");
    };

    put("trixie", &bytes);
    let error = network.suite(&mirror, "trixie", &events, &interrupt).await;
    let error = error.expect_err("it is another suite's").to_string();
    assert!(error.contains("it is the index of bookworm"), "{error}");

    let mut changed = bytes.clone();
    let at = changed.len() / 2;
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    put("bookworm", &changed);
    let error = network
        .suite(&mirror, "bookworm", &events, &interrupt)
        .await;
    assert!(matches!(error, Err(LockError::Signature { .. })));
}
