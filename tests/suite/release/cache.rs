//! The cache of releases: kept files, the lock file, and allowed sources.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::release::{LockedRelease, ReleaseMirror, resolve};
use vault_bake::wait::Interrupt;

use super::gpg::{VERSION, lab};
use super::{Mirror, flipped, name, now};

#[tokio::test]
async fn a_binary_is_unpacked_only_as_it_was_verified() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let locked = mirror.resolve().await.expect("it resolves");
    let verified = mirror.fetch(&locked).await.expect("it verifies");
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("vault");
    verified.unpack_binary(&to).expect("it is unpacked");
    let (found, bytes) = Digest::hash_file(&to).expect("the binary");
    assert_eq!(found, verified.binary_sha256);
    assert_eq!(bytes, verified.binary_size_bytes);
    verified
        .unpack_binary(&to)
        .expect_err("nothing is written over");
    // Another file, although it is a valid gzip file.
    let file = fs::File::create(&verified.binary_gz).expect("damage");
    let mut other = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::Write::write_all(&mut other, b"another binary").expect("damage");
    other.finish().expect("damage");
    let error = verified.unpack_binary(&folder.path().join("other"));
    let words = error.expect_err("it is another one").to_string();
    assert!(words.contains("expected sha256:"), "{words}");
}

#[tokio::test]
async fn a_damaged_cache_is_noticed_and_mended() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let locked = mirror.resolve().await.expect("it resolves");
    let verified = mirror.fetch(&locked).await.expect("it verifies");
    let good = fs::read(&verified.binary_gz).expect("the gzip file");
    for (file, expected) in [
        (&verified.archive, 1),
        (&verified.binary_gz, 0),
        (&verified.licences[0].1, 0),
    ] {
        let whole = fs::read(file).expect("a file of the cache");
        fs::write(file, flipped(&whole, 12 % whole.len())).expect("damage");
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let events = {
            let warnings = Arc::clone(&warnings);
            Events::new(move |event: &Event| {
                if let Event::Warning { message } = event {
                    warnings.lock().expect("no panic").push(message.clone());
                }
            })
        };
        let again = mirror
            .fetch_telling(&locked, &events)
            .await
            .expect("it mends");
        assert_eq!(again, verified);
        assert_eq!(fs::read(file).expect("the file again"), whole);
        assert_eq!(
            warnings.lock().expect("no panic").len(),
            expected,
            "{}",
            file.display()
        );
    }
    assert_eq!(fs::read(&verified.binary_gz).expect("the gzip file"), good);
    // The cache has all files, so the mirror can be removed.
    fs::remove_dir_all(mirror.release()).expect("removed");
    assert_eq!(
        mirror.fetch(&locked).await.expect("from the cache"),
        verified
    );
    fs::write(&verified.archive, b"damaged").expect("damage");
    let error = mirror
        .fetch(&locked)
        .await
        .expect_err("nothing to mend it from");
    assert!(!error.is_integrity(), "{error}");
}

#[tokio::test]
async fn the_cache_serves_several_at_once() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let locked = mirror.resolve().await.expect("it resolves");
    let (a, b, c) = tokio::join!(
        mirror.fetch(&locked),
        mirror.fetch(&locked),
        mirror.fetch(&locked)
    );
    let a = a.expect("the first");
    assert_eq!(a, b.expect("the second"));
    assert_eq!(a, c.expect("the third"));
    let left = fs::read_dir(mirror.cache().join("releases/tmp")).expect("the folder");
    assert_eq!(left.count(), 0, "no temporary file is left");
}

#[tokio::test]
async fn verified_releases_must_match_the_lock_file() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let locked = mirror.resolve().await.expect("it resolves");
    let zeros = Digest::hash_bytes(b"something else");
    type Change = fn(&mut LockedRelease, Digest);
    let changes: [(&str, Change); 7] = [
        ("archive", |lock, zeros| lock.sha256 = zeros),
        ("sums", |lock, zeros| lock.sums_sha256 = zeros),
        ("signature", |lock, zeros| lock.signature_sha256 = zeros),
        ("primary", |lock, _| {
            lock.primary_fingerprint = "0".repeat(40);
        }),
        ("signer", |lock, _| {
            lock.signing_fingerprint = "0".repeat(40);
        }),
        ("time", |lock, _| {
            lock.signed_at = "2020-01-01T00:00:00Z".to_owned();
        }),
        ("file", |lock, _| {
            lock.file = "../../../etc/passwd".to_owned();
        }),
    ];
    let mut table = String::new();
    for (case, change) in changes {
        let mut changed = locked.clone();
        change(&mut changed, zeros);
        let result = mirror.fetch(&changed).await.map(drop);
        table += &mirror.line(lab, case, result);
    }
    insta::assert_snapshot!("lock", table);
}

#[tokio::test]
async fn what_is_not_there_is_no_integrity_failure() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::good(lab);
    let mut table = String::new();
    for (product, version) in [
        ("vault", "9.9.9"),
        ("consul", VERSION),
        ("../vault", VERSION),
        ("vault", "1.2"),
        ("vault", "../1.2.3"),
    ] {
        let events = Events::silent();
        let result = resolve(
            &mirror.source,
            name(product, version),
            now(),
            &events,
            &Interrupt::default(),
        )
        .await;
        table += &mirror.line(lab, &format!("{product} {version}"), result.map(drop));
    }
    mirror.put(
        "index.json",
        br#"{"name":"vault","status":{"state":"supported"}}"#,
    );
    table += &mirror.line(lab, "supported", mirror.resolve().await.map(drop));
    mirror.put(
        "index.json",
        br#"{"name":"vault","status":{"state":"withdrawn"}}"#,
    );
    table += &mirror.line(lab, "withdrawn", mirror.resolve().await.map(drop));
    mirror.put("index.json", b"<html>");
    table += &mirror.line(lab, "no description", mirror.resolve().await.map(drop));
    let short = Mirror {
        source: ReleaseMirror {
            fingerprint: "72D7468F".to_owned(),
            ..mirror.source.clone()
        },
        folder: tempfile::tempdir().expect("a folder"),
    };
    table += &mirror.line(lab, "short key id", short.resolve().await.map(drop));
    insta::assert_snapshot!("absent", table);
}

#[tokio::test]
async fn a_mirror_may_be_a_file_url_or_an_http_server() {
    let Some(lab) = lab() else { return };
    let mut mirror = Mirror::good(lab);
    let folder = mirror.folder.path().join("mirror");
    let by_folder = mirror.both().await.expect("by folder");
    for base in [
        format!("file://{}", folder.display()),
        format!("{}/", serve(&folder).await),
    ] {
        mirror.source.base.clone_from(&base);
        let locked = mirror.resolve().await.expect("it resolves");
        assert!(
            locked.url.starts_with(base.trim_end_matches('/')),
            "{}",
            locked.url
        );
        fs::remove_dir_all(mirror.cache()).expect("an empty cache");
        let verified = mirror.fetch(&locked).await.expect("it verifies");
        assert_eq!(verified.binary_sha256, by_folder.binary_sha256);
    }
}

/// Serves `folder` on 127.0.0.1, one request per connection. A plus in a path must be escaped.
async fn serve(folder: &Path) -> String {
    let folder = folder.to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let size = connection.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..size]).into_owned();
            let path = request
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches('/');
            let content =
                (!path.contains('+')).then(|| fs::read(folder.join(path.replace("%2B", "+"))));
            let (status, content) = match content {
                Some(Ok(content)) => ("200 OK", content),
                _ => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                content.len()
            );
            let _ = connection
                .write_all(&[head.as_bytes(), &content].concat())
                .await;
        }
    });
    format!("http://{address}")
}
