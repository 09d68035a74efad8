//! Release archives: a valid one, and hostile ones.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The content of the product's binary.
pub fn binary() -> Vec<u8> {
    b"#!/bin/sh\necho a binary\n".repeat(400)
}

/// An archive as HashiCorp makes it.
pub fn good() -> Vec<u8> {
    archive(
        &[
            ("LICENSE.txt", b"a licence\n", 0o644),
            ("vault", &binary(), 0o755),
        ],
        DEFLATED,
    )
}

/// Accepted and refused archives, by their special property.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let one = |name| {
        archive(
            &[(name, b"x", 0o755), ("vault", &binary(), 0o755)],
            DEFLATED,
        )
    };
    let good = good();
    let half = good.len() / 2;
    vec![
        ("zip: good", good.clone()),
        (
            "zip: stored",
            archive(&[("vault", &binary(), 0o755)], CompressionMethod::Stored),
        ),
        (
            "zip: no binary",
            archive(&[("LICENSE.txt", b"a licence\n", 0o644)], DEFLATED),
        ),
        ("zip: two binaries", one("consul")),
        (
            "zip: the same name twice",
            renamed(one("vaulu"), "vaulu", "vault"),
        ),
        (
            "zip: above its folder",
            renamed(one("__/LICENSE.txt"), "__/LICENSE.txt", "../LICENSE.txt"),
        ),
        (
            "zip: absolute",
            renamed(one("_/LICENSE.txt"), "_/LICENSE.txt", "//LICENSE.txt"),
        ),
        (
            "zip: backslash",
            renamed(one("a_LICENSE.txt"), "a_LICENSE.txt", "a\\LICENSE.txt"),
        ),
        ("zip: in a folder", one("etc/LICENSE.txt")),
        ("zip: symbolic link", link()),
        ("zip: folder", folder()),
        ("zip: device", device(&good)),
        ("zip: declares less", declared(&good, 100)),
        ("zip: declares more", declared(&good, 100_000)),
        ("zip: declares 3 GiB", declared(&good, 3 << 30)),
        ("zip: wrong checksum", wrong_checksum(&good)),
        ("zip: wrong licence checksum", wrong_licence(&good)),
        ("zip: unknown compression", other_method(&good)),
        ("zip: truncated", good[..half].to_vec()),
        (
            "zip: something before it",
            [b"junk".as_slice(), &good].concat(),
        ),
        ("zip: nothing", Vec::new()),
        ("zip: no zip", b"this is not a zip archive".to_vec()),
    ]
}

const DEFLATED: CompressionMethod = CompressionMethod::Deflated;

fn archive(files: &[(&str, &[u8], u32)], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, mode) in files {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .unix_permissions(*mode);
        zip.start_file(*name, options).expect("a file");
        zip.write_all(content).expect("its content");
    }
    zip.finish().expect("an archive").into_inner()
}

fn link() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("vault", "/etc/passwd", SimpleFileOptions::default())
        .expect("a link");
    zip.finish().expect("an archive").into_inner()
}

fn folder() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_directory("vault", SimpleFileOptions::default())
        .expect("a folder");
    zip.finish().expect("an archive").into_inner()
}

/// Puts another name of the same length into local and central headers.
fn renamed(mut zip: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    for place in places(&zip, from.as_bytes()) {
        zip[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    zip
}

/// Puts `bytes` at `offset` of the last entry's local header and at `offset + 2` of its central
/// one. The
/// fields are the same, and the central header has two more bytes before them.
fn patched(zip: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    let (local, central) = (places(&zip, b"PK\x03\x04"), places(&zip, b"PK\x01\x02"));
    for place in [
        local[local.len() - 1] + offset,
        central[central.len() - 1] + offset + 2,
    ] {
        zip[place..place + bytes.len()].copy_from_slice(bytes);
    }
    zip
}

fn declared(zip: &[u8], size_bytes: u32) -> Vec<u8> {
    patched(zip, 22, &size_bytes.to_le_bytes())
}

fn wrong_checksum(zip: &[u8]) -> Vec<u8> {
    patched(zip, 14, &[1, 2, 3, 4])
}

fn wrong_licence(zip: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    for (signature, offset) in [(b"PK\x03\x04", 14), (b"PK\x01\x02", 16)] {
        let place = places(&zip, signature)[0] + offset;
        zip[place..place + 4].copy_from_slice(&[1, 2, 3, 4]);
    }
    zip
}

fn other_method(zip: &[u8]) -> Vec<u8> {
    patched(zip, 8, &93_u16.to_le_bytes())
}

/// Makes the binary a character device by its Unix mode, which only the central header has.
fn device(zip: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    let central = places(&zip, b"PK\x01\x02");
    let place = central[central.len() - 1] + 40;
    zip[place..place + 2].copy_from_slice(&0o020_644_u16.to_le_bytes());
    zip
}

fn places(zip: &[u8], what: &[u8]) -> Vec<usize> {
    (0..zip.len().saturating_sub(what.len()))
        .filter(|place| zip[*place..].starts_with(what))
        .collect()
}
