//! Debian's signed indexes, from its mirror.

use vault_bake::definition::platform::{BaseError, BaseErrorKind, LockContext};
use vault_bake::event::Events;
use vault_bake::platform::qemu::{DEBIAN_KEYRING, PackageIndex, SignedSuites, Suites as _};
use vault_bake::wait::Interrupt;

const MIRROR: &str = "http://deb.debian.org/debian";

/// Looks up a suite at the time `now`.
async fn index(now: &str, mirror: &str, suite: &str) -> Result<PackageIndex, BaseError> {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let context = LockContext {
        now: now.parse().expect("a time"),
        events: &events,
        interrupt: &interrupt,
    };
    let suites = SignedSuites {
        keyring: DEBIAN_KEYRING.into(),
    };
    suites.index(mirror, suite, context).await
}

#[tokio::test]
async fn a_suite_is_locked_with_its_date_and_digest() {
    let index = index("2024-01-01T00:00:00Z", MIRROR, "bookworm")
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
    let mirror = "http://deb.debian.org/debian-security";
    let error = index("2999-01-01T00:00:00Z", mirror, "bookworm-security")
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
    let now = "2024-01-01T00:00:00Z";
    let put = |suite: &str, bytes: &[u8]| {
        let folder = folder.path().join("dists").join(suite);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("InRelease"), bytes).expect("a file");
    };

    put("trixie", &bytes);
    let error = index(now, &mirror, "trixie").await;
    let error = error.expect_err("it is another suite's").to_string();
    assert!(error.contains("it is the index of bookworm"), "{error}");

    let mut changed = bytes.clone();
    let at = changed.len() / 2;
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    put("bookworm", &changed);
    let error = index(now, &mirror, "bookworm").await;
    let error = error.expect_err("a byte was changed");
    assert_eq!(error.kind, BaseErrorKind::Integrity, "{error}");
}
