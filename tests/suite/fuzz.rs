//! Runs the seeds of the fuzz targets through the same checks, so that both stay valid.

#[path = "../../fuzz/checks/configuration.rs"]
mod configuration;
#[path = "../../fuzz/checks/definition.rs"]
mod definition;
#[path = "../../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../../fuzz/checks/event.rs"]
mod event;
#[path = "../../fuzz/checks/manifest.rs"]
mod manifest;
#[path = "../../fuzz/checks/pins.rs"]
mod pins;
mod seeds;
#[path = "../../fuzz/checks/sums.rs"]
mod sums;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Limit of all seeds together, in bytes.
const MOST_BYTES: u64 = 200 * 1024;

type Check = fn(&[u8]) -> bool;

const TARGETS: [(&str, Check); 7] = [
    ("configuration", configuration::check),
    ("definition", definition::check),
    ("envelope", envelope::check),
    ("event", event::check),
    ("manifest", manifest::check),
    ("pins", pins::check),
    ("sums", sums::check),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Returns the seeds of a target: name and content.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(root().join("seeds").join(target)).unwrap();
    let mut seeds: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_is_what_its_name_says() {
    let mut size = 0;
    let mut wrong = Vec::new();
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        for (name, bytes) in &seeds {
            size += bytes.len() as u64;
            let expected = match name.split_once('-') {
                Some(("good", _)) => true,
                Some(("bad", _)) => false,
                _ => panic!("{target}/{name} is neither good nor bad"),
            };
            if check(bytes) != expected {
                wrong.push(format!("{target}/{name}"));
            }
        }
        for kind in ["good-", "bad-"] {
            let there = seeds.iter().filter(|(name, _)| name.starts_with(kind));
            assert!(there.count() >= 3, "too few seeds {target}/{kind}…");
        }
    }
    assert!(wrong.is_empty(), "other than named: {wrong:?}");
    assert!(size <= MOST_BYTES, "{size} bytes of seeds");
}

/// Alters every seed at many positions: what a fuzz target does first, without its compiler.
#[test]
fn damaged_seeds_keep_what_is_promised() {
    for (target, check) in TARGETS {
        for (_, seed) in seeds(target) {
            let step = (seed.len() / 24).max(1);
            for at in (0..seed.len()).step_by(step) {
                let mut flipped = seed.clone();
                flipped[at] ^= 1;
                check(&flipped);
                check(&seed[..at]);
                let mut doubled = seed.clone();
                doubled.insert(at, seed[at]);
                check(&doubled);
            }
        }
    }
}

#[test]
fn targets_checks_and_seeds_go_together() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let ours = paths.filter(|path| path.extension().is_none_or(|it| it == "rs"));
        ours.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let known: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    for folder in ["fuzz_targets", "checks", "seeds"] {
        assert_eq!(names(folder), known, "{folder}");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in &known {
        assert!(
            manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")),
            "{name}"
        );
    }
}
