//! Alters bytes and files of a small store and expects every change to be detected.
//! `make test` alters one byte of every field, `exhaustive` every byte.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test whose preparation fails has failed, and a table says how many cases it has"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vault_bake::digest::Digest;
use vault_bake::store::event::{Body, Retention, Revoke};
use vault_bake::store::gc::ExternalUses;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Depth, Dir, Store, StoreError};

use testing::crash_test::{now, put};
use testing::sample::test_record;
use testing::signing::signed_store;

/// Makes a store with an entry of every kind, except a change of its policy.
async fn make(root: &Path, scratch: &Path) {
    let store = signed_store(Dir::new(root), now()).await;
    let first = put(&store, scratch, "1.0.0", "disk 0").await.unwrap();
    let second = put(&store, scratch, "1.0.1", "disk 1").await.unwrap();
    for manifest in [first, second] {
        let record = test_record(manifest, now(), true);
        store.put_test(&record, now()).await.unwrap();
        let set = store.plan_promotion(&manifest, "prod", None, None, now());
        store.move_channel(set.await.unwrap(), now()).await.unwrap();
    }
    let revoke = Body::Revoke(Revoke {
        rule: Rule::Manifests {
            manifests: [first].into(),
        },
        why: "CVE-2026-0001".into(),
        effective_at: now().into(),
        replacement: Some(second),
    });
    let restore = Body::Restore {
        revocation: 7,
        why: "a mistake".into(),
    };
    for (n, body) in [(1, revoke), (2, restore)] {
        let id = uuid::Uuid::from_u128(n);
        store.append(id, now(), body).await.unwrap();
    }
    let keep = Retention {
        generations: 1,
        min_age_s: 0,
        pin_files: 0,
        in_use_lists: 0,
    };
    let outside = ExternalUses::default();
    let (_, plan) = store.plan_gc(&keep, &outside, 0, now()).await.unwrap();
    let removed = store.apply_gc(plan.unwrap().seq, &outside, now()).await;
    assert_eq!(removed.unwrap().removed.len(), 1);
}

fn names(root: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => names.push(path.strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    for name in names(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), &target).unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
    }
}

/// Returns the error, or `None` if the store is sound and complete, without stray files.
async fn complaint(root: &Path) -> Option<String> {
    let examined = async {
        let store = Store::open(Dir::new(root)).await?;
        store.verify(Depth::Artifacts).await
    };
    match examined.await {
        Ok(report) if !report.is_sound() => Some(report.findings[0].why.clone()),
        Ok(report) => {
            let missing = report.artifacts_missing.iter().map(|one| &one.file);
            let mut noticed = report.left_over.iter().chain(missing);
            noticed.next().map(|name| format!("noticed: {name}"))
        }
        // The name of the schema was altered.
        Err(error @ StoreError::Schema { .. }) => Some(error.to_string()),
        Err(error) if error.is_integrity() => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// The extent of a test.
#[derive(Clone)]
enum Form {
    Everything,
    /// One byte of each field, and one other file of each folder, chosen by this seed.
    Sample(u64),
}

impl Form {
    /// Returns a sample by the seed in `VAULT_BAKE_SEED`, or by a random one.
    #[expect(clippy::disallowed_methods, reason = "a user can repeat a sample")]
    fn sample() -> Self {
        let wanted = std::env::var("VAULT_BAKE_SEED").ok();
        let seed = wanted.map_or_else(
            || RandomState::new().hash_one("a seed"),
            |seed| seed.parse().expect("VAULT_BAKE_SEED is a number"),
        );
        println!("VAULT_BAKE_SEED={seed}");
        Self::Sample(seed)
    }

    /// Returns which of `among` to take: always the same for the same `of`.
    fn choose(&self, of: &str, among: Range<usize>) -> Vec<usize> {
        match self {
            Self::Everything => among.collect(),
            Self::Sample(seed) => {
                let digest = Digest::hash_bytes(format!("{seed} {of}")).to_string();
                let hex = &digest[digest.len() - 15..];
                let number = usize::from_str_radix(hex, 16).unwrap();
                vec![among.start + number % among.len()]
            }
        }
    }

    /// Returns the positions in a file to alter.
    fn places(&self, name: &Path, bytes: &[u8]) -> BTreeSet<usize> {
        let fields = fields(bytes).into_iter();
        let chosen = fields.flat_map(|field| self.choose(&format!("{name:?} {field:?}"), field));
        chosen.collect()
    }

    /// Returns the other files that replace a file.
    fn swaps<'a>(&self, name: &Path, others: &'a [PathBuf]) -> Vec<&'a PathBuf> {
        let kind = |path: &Path| path.iter().next().unwrap().to_owned();
        let kinds: BTreeSet<_> = others.iter().map(|other| kind(other)).collect();
        let of = |wanted| -> Vec<&PathBuf> {
            let alike = |other: &&PathBuf| *other != name && kind(other) == wanted;
            let alike: Vec<&PathBuf> = others.iter().filter(alike).collect();
            let chosen = match alike.len() {
                0 => vec![],
                some => self.choose(&format!("{name:?} {wanted:?}"), 0..some),
            };
            chosen.into_iter().map(|at| alike[at]).collect()
        };
        kinds.into_iter().flat_map(of).collect()
    }
}

/// Returns the fields of a record and those of its payload, which is JSON in base64. They cover
/// every byte.
fn fields(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    for piece in pieces(bytes) {
        let text = std::str::from_utf8(&bytes[piece.clone()]).unwrap();
        let head = "\"payload\":\"";
        let payload = text.find(head).and_then(|at| {
            let start = at + head.len();
            let length = text[start..].find('"')?;
            let decoded = openssl::base64::decode_block(&text[start..start + length]).ok()?;
            Some((piece.start + start, length, decoded))
        });
        if let Some((start, length, decoded)) = payload {
            // Four letters encode three bytes.
            let letters = |field: Range<usize>| {
                start + field.start * 4 / 3..start + (field.end * 4).div_ceil(3).min(length)
            };
            all.push(piece.start..start);
            all.extend(pieces(&decoded).into_iter().map(letters));
            all.push(start + length..piece.end);
        } else {
            all.push(piece);
        }
    }
    all
}

/// Splits JSON at commas, brackets and line ends.
fn pieces(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut all, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'{' | b'}' | b'[' | b']' | b'\n' if !quoted => {
                all.push(start..at + 1);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < bytes.len() {
        all.push(start..bytes.len());
    }
    all
}

/// Alters the file `name` in the ways of `form` and restores it. Returns the number of ways.
async fn alter(
    form: &Form,
    sound: &Path,
    altered: &Path,
    name: &Path,
    others: &[PathBuf],
) -> usize {
    let seed = match form {
        Form::Everything => String::new(),
        Form::Sample(seed) => format!(" (VAULT_BAKE_SEED={seed})"),
    };
    let path = altered.join(name);
    let bytes = fs::read(&path).unwrap();
    let mut cases = 0;
    for at in form.places(name, &bytes) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let found = complaint(altered).await;
        let found = found.unwrap_or_else(|| panic!("{} byte {at}{seed}", name.display()));
        assert!(
            !found.starts_with("noticed"),
            "{} byte {at}{seed}",
            name.display()
        );
        cases += 1;
    }
    for cut in [&bytes[..bytes.len() - 1], &[]] {
        fs::write(&path, cut).unwrap();
        assert!(complaint(altered).await.is_some(), "{} cut", name.display());
        cases += 1;
    }
    for other in form.swaps(name, others) {
        fs::copy(sound.join(other), &path).unwrap();
        let found = complaint(altered).await;
        assert!(
            found.is_some(),
            "{} is {}{seed}",
            name.display(),
            other.display()
        );
        cases += 1;
    }
    fs::remove_file(&path).unwrap();
    // A log without its last entry is an older log. Only a pin or a cache that has the head can
    // detect that.
    let is_last = others
        .iter()
        .rfind(|other| other.starts_with("log"))
        .is_some_and(|last| last == name);
    assert!(
        complaint(altered).await.is_some() || is_last,
        "{} dropped",
        name.display()
    );
    fs::write(&path, &bytes).unwrap();
    // Another file with the same bytes, in the same folder.
    let mut twin = path.clone().into_os_string();
    twin.push("0");
    fs::write(&twin, &bytes).unwrap();
    let found = complaint(altered).await;
    let is_artifact = name.starts_with("artifacts");
    let is_origin = name == Path::new("store.json");
    // No reader uses these files twice: a stray file takes space and has no effect.
    assert!(
        found.is_some() || is_artifact || is_origin,
        "{} twice",
        name.display()
    );
    fs::remove_file(&twin).unwrap();
    cases + 2
}

/// Alters every file of a store in the ways of `form`. Returns their number.
async fn alter_all(form: Form) -> usize {
    let folder = TempDir::new().unwrap();
    let sound = folder.path().join("sound");
    make(&sound, folder.path()).await;
    assert_eq!(complaint(&sound).await, None);
    let names = names(&sound);
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..2 {
        let altered = folder.path().join(format!("altered-{worker}"));
        copy(&sound, &altered);
        let (form, sound, names) = (form.clone(), sound.clone(), names.clone());
        workers.spawn(async move {
            let mut cases = 0;
            for name in names.iter().skip(worker).step_by(2) {
                cases += alter(&form, &sound, &altered, name, &names).await;
            }
            assert_eq!(complaint(&altered).await, None);
            cases
        });
    }
    let cases: usize = workers.join_all().await.into_iter().sum();
    println!(
        "{cases} alterations of {} files, every one noticed",
        names.len()
    );
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_and_every_file_of_a_store_counts() {
    let cases = alter_all(Form::sample()).await;
    assert!(cases > 500, "{cases}");
}

mod exhaustive {
    use super::{Form, alter_all};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_byte_and_every_file_of_a_store_counts() {
        let cases = alter_all(Form::Everything).await;
        assert!(cases > 10_000, "{cases}");
    }
}
