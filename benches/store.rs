//! Times a large store and prints medians (`make bench-store`, `docs/performance.md`).
//! `BENCH_MANIFESTS` is the number of manifests (100,000), `BENCH_RUNS` that of repetitions (11).
//! Keeps the store in `target/tmp/` for the next run. No figure fails the benchmark.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a separate program, not part of the library"
)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testing::{sample, signing};
use uuid::Uuid;
use vault_bake::digest::{Digest, canonical_json};
use vault_bake::manifest::{Manifest, Reference, packages_bytes};
use vault_bake::sign::{Envelope, STATEMENT_PAYLOAD_TYPE, Signer, sign};
use vault_bake::store::event::{self, Body, ChannelSet, ManifestPut, Reason};
use vault_bake::store::{Depth, Dir, Store};
use vault_bake::wait::Interrupt;

/// The same allocator as in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of images of the store.
const IMAGES: u64 = 100;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|one| one != "--bench").collect();
    let count = number("BENCH_MANIFESTS", 100_000);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-store-{count}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.first().map(String::as_str) {
        // A child process runs one task, to measure the peak memory of that task.
        Some("task") => runtime.block_on(task(&folder, &arguments[1], count)),
        _ => runtime.block_on(all(&folder, count)),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn name_of(number: u64) -> (String, String) {
    let (image, version) = (number % IMAGES, number / IMAGES);
    (format!("image-{image:03}"), format!("2026.1122.{version}"))
}

async fn open(folder: &Path, cached: bool) -> Store<Dir> {
    let store = Store::open(Dir::new(folder.join("store"))).await.unwrap();
    if cached {
        store.with_cache(folder.join("memory"))
    } else {
        store
    }
}

/// Writes a store in the library's format, but without fsync.
struct FastWriter {
    root: PathBuf,
    signers: Vec<Signer>,
    seq: u64,
    prev: Digest,
}

impl FastWriter {
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn object(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::hash_bytes(bytes);
        let hex = digest.hex();
        self.write(
            &format!("objects/sha256/{}/{}", &hex[..2], &hex[2..]),
            bytes,
        );
        digest
    }

    async fn signed(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let interrupt = Interrupt::default();
        let signed = sign(payload_type, payload, &self.signers, &interrupt);
        signed.await.unwrap()
    }

    async fn append(&mut self, body: &Body, at: Timestamp) {
        self.seq += 1;
        let (seq, prev) = (self.seq, self.prev);
        let mut entry = json!(body);
        entry["schema"] = event::SCHEMA.into();
        entry["seq"] = seq.into();
        entry["prev"] = prev.to_string().into();
        entry["id"] = Uuid::from_u128(u128::from(seq)).to_string().into();
        entry["at"] = vault_bake::manifest::Moment::from(at).to_string().into();
        if matches!(body, Body::ChannelSet(_)) {
            entry["critical"] = true.into();
        }
        let envelope = self
            .signed(event::PAYLOAD_TYPE, canonical_json(&entry))
            .await;
        let bytes = envelope.to_bytes();
        self.prev = Digest::hash_bytes(&bytes);
        let (millions, thousands, ones) = (seq / 1_000_000, seq / 1000 % 1000, seq % 1000);
        self.write(
            &format!("log/entries/{millions:03}/{thousands:03}/{ones:03}"),
            &bytes,
        );
    }
}

/// Makes a store with `count` manifests and one channel, unless an earlier run made it.
async fn make(folder: &Path, count: u64) {
    if folder.join("whole").exists() {
        return;
    }
    let _ = fs::remove_dir_all(folder);
    let start: Timestamp = "2026-11-22T19:30:00Z".parse().unwrap();
    let root = folder.join("store");
    let store = Store::open_or_create(Dir::new(&root), &signing::trust(), start)
        .await
        .unwrap();
    let mut writer = FastWriter {
        root,
        signers: vec![signing::signer(1)],
        seq: 0,
        prev: store.origin(),
    };
    writer.object(&packages_bytes(&sample::packages()));
    let disk = sample::sample("1.0.0", "disk").outputs[0].id.clone();
    writer.write(&disk, b"disk");
    let mut last = None;
    for number in 0..count {
        let (image, version) = name_of(number);
        let at = start + SignedDuration::from_secs(i64::try_from(number).unwrap());
        let manifest = Manifest {
            image,
            created_at: at.into(),
            ..sample::sample(&version, "disk")
        };
        let bytes = manifest.to_bytes();
        let digest = writer.object(&bytes);
        let envelope = writer
            .signed(STATEMENT_PAYLOAD_TYPE, bytes)
            .await
            .to_bytes();
        let put = ManifestPut::from_manifest(&manifest, digest, writer.object(&envelope));
        writer.append(&Body::ManifestPut(put), at).await;
        last = Some((digest, manifest.image));
    }
    let (manifest, image) = last.unwrap();
    // The events of a boot test and of the first promotion.
    let record = vault_bake::manifest::TestRecord {
        audit: None,
        manifest,
        run: "019aad5f-0a00-7000-8000-000000000002".into(),
        started_at: start.into(),
        ended_at: start.into(),
        passed: true,
        failure: None,
        checks: vec![sample::check("vault.tls-only", true)],
        builder: sample::builder(),
    };
    let bytes = record.to_bytes();
    let test = writer.object(&bytes);
    let envelope = writer
        .signed(STATEMENT_PAYLOAD_TYPE, bytes)
        .await
        .to_bytes();
    let body = Body::TestPut {
        manifest,
        test,
        envelope: writer.object(&envelope),
        passed: true,
    };
    writer.append(&body, start).await;
    let set = ChannelSet {
        image,
        channel: "prod".into(),
        generation: 1,
        to: manifest,
        from: None,
        reason: Reason::Promote,
        note: None,
    };
    writer.append(&Body::ChannelSet(set), start).await;
    fs::write(folder.join("whole"), "").unwrap();
}

/// Runs one task in a child process, which prints its time in microseconds and its peak memory in
/// KiB.
async fn task(folder: &Path, name: &str, count: u64) {
    let start = Instant::now();
    let cached = !name.ends_with("-without");
    let (image, version) = name_of(count - 1);
    let resolve = async |text: String| {
        let reference: Reference = text.parse().unwrap();
        open(folder, cached)
            .await
            .resolve(&reference)
            .await
            .unwrap()
    };
    match name.trim_end_matches("-without") {
        "floor" => read_all(&folder.join("store")),
        "nothing" => {}
        "verify" => {
            let report = open(folder, true)
                .await
                .verify(Depth::Records)
                .await
                .unwrap();
            assert!(report.is_sound() && report.voids.is_empty());
            assert!(report.manifests >= count);
        }
        "list" => {
            assert!(
                open(folder, cached)
                    .await
                    .images(Timestamp::UNIX_EPOCH)
                    .await
                    .unwrap()
                    .len() as u64
                    >= count
            );
        }
        "history" => {
            let history = open(folder, cached).await.history().await.unwrap();
            assert!(history.recorded().len() as u64 >= count);
        }
        "by-version" => drop(resolve(format!("{image}@{version}")).await),
        "newest" => drop(resolve(image).await),
        "by-channel" => drop(resolve(format!("{image}:prod")).await),
        "by-digest" => drop(resolve(fs::read_to_string(folder.join("digest")).unwrap()).await),
        "append" => {
            let store = open(folder, true).await;
            let store = store.with_signers(vec![signing::signer(1)], Interrupt::default());
            let unique = unique_number();
            let manifest = Manifest {
                image: "appended".into(),
                ..sample::sample(&format!("1.{}.{}", unique >> 20, unique & 0xf_ffff), "disk")
            };
            let now = "2026-11-24T00:00:00Z".parse().unwrap();
            store.put_manifest(&manifest, now).await.unwrap();
        }
        other => panic!("no task `{other}`"),
    }
    let elapsed = start.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{} {peak}", elapsed.as_micros());
}

/// Returns a number that no earlier run used.
fn unique_number() -> u64 {
    let now = Timestamp::now().as_microsecond();
    u64::try_from(now).unwrap() & 0xff_ffff_ffff
}

/// Reads every file, on all processors.
fn read_all(root: &Path) {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in files.chunks(files.len().div_ceil(threads)) {
            scope.spawn(move || part.iter().for_each(|file| drop(fs::read(file).unwrap())));
        }
    });
}

struct Figure {
    what: &'static str,
    time: Duration,
    peak_mib: Option<u64>,
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs a task in a child process, `runs` times. Returns the median time and the peak memory in
/// MiB.
fn run_child(task: &str, runs: usize) -> (Duration, u64) {
    let mut peak = 0;
    let times = (0..runs).map(|_| {
        let own = env::current_exe().unwrap();
        let output = Command::new(own)
            .args(["task", task])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{task}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (time, memory) = text.trim().split_once(' ').unwrap();
        peak = peak.max(memory.parse().unwrap());
        Duration::from_micros(time.parse().unwrap())
    });
    (median(times.collect()), peak / 1024)
}

/// Runs the binary `runs` times. Returns the median time.
fn run_binary(folder: &Path, arguments: &[&str], runs: usize) -> Duration {
    let times = (0..runs).map(|_| {
        let start = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
            .args(arguments)
            .env("VAULT_BAKE_STORE", folder.join("store"))
            .env("VAULT_BAKE_CACHE", folder.join("cache"))
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{arguments:?}");
        start.elapsed()
    });
    median(times.collect())
}

async fn all(folder: &Path, count: u64) {
    let runs = usize::try_from(number("BENCH_RUNS", 11)).unwrap();
    let start = Instant::now();
    make(folder, count).await;
    let (image, version) = name_of(count - 1);
    let (name, channel) = (format!("{image}@{version}"), format!("{image}:prod"));
    println!(
        "{count} manifests in {IMAGES} images; made or found in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let digest = open(folder, true)
        .await
        .resolve(&name.parse().unwrap())
        .await
        .unwrap();
    fs::write(folder.join("digest"), digest.to_string()).unwrap();

    let mut figures = Vec::new();
    let mut add = |what, (time, peak_mib)| {
        figures.push(Figure {
            what,
            time,
            peak_mib,
        });
    };
    let measure = |task: &str, runs| {
        let (time, peak) = run_child(task, runs);
        (time, Some(peak))
    };
    add("resolve name@version", measure("by-version", runs));
    add("resolve sha256:…", measure("by-digest", runs));
    add("resolve name:channel", measure("by-channel", runs));
    add("resolve name (the newest)", measure("newest", runs));
    add("list", measure("list", runs));
    add("load the history, as writers do", measure("history", runs));
    add("append one manifest, with fsync", measure("append", runs));
    let _ = run_child("verify", 1); // Fills the page cache.
    add("verify, with signatures", measure("verify", runs));
    add(
        "floor of verify: read all files",
        measure("floor", 3.min(runs)),
    );
    let _ = run_binary(folder, &["show", &name], 1); // Makes the local cache.
    add(
        "vault-bake show name@version",
        (run_binary(folder, &["show", &name], runs), None),
    );
    add(
        "vault-bake show name:channel",
        (run_binary(folder, &["show", &channel], runs), None),
    );
    add(
        "vault-bake images",
        (run_binary(folder, &["images"], runs), None),
    );
    add(
        "without cache: resolve name@version",
        measure("by-version-without", 1),
    );
    add("without cache: list", measure("list-without", 1));
    println!("{:<40}{:>12}{:>12}", "", "median", "peak memory");
    for Figure {
        what,
        time,
        peak_mib,
    } in figures
    {
        let peak = peak_mib.map_or(String::new(), |peak| format!("{peak} MiB"));
        println!(
            "{what:<40}{:>9.1} ms{peak:>12}",
            time.as_secs_f64() * 1000.0
        );
    }
}
