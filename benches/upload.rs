//! How long an upload takes, against OpenSSH's `scp` and `sftp`, to the same real `sshd` on this computer: without latency,
//! and through a proxy that holds everything back for 25 ms in each direction. Ratios, measured in turn in one run.
//!
//! `make bench`. What is uploaded is what a bake uploads: a release that is compressed already, and a folder of small texts.
//! `scp -C` and `sftp -C` compress, which is better for the texts and worse for the release, so both ways are timed.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program of its own, which times others"
)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use testing::sshd::{self, Sshd};
use vault_bake::event::Events;
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Endpoint, Keys, Packing, Session};
use vault_bake::wait::Interrupt;

/// A release, compressed: smaller than Vault, so that the slowest of them ends.
const RELEASE_MIB: usize = 24;
const TEXTS: usize = 60;
const RUNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(compare());
}

async fn compare() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = folder.path().join("work");
    prepare(&from);
    let keys = Keys::generate();
    let key = folder.path().join("key");
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&key);
    // OpenSSH reads no key whose last line has no end.
    let text = format!("{}\n", keys.user_private.expose().trim_end());
    let mut file = file.expect("a key file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("a key");
    let server = Sshd::start(&keys);
    let to = folder.path().join("to");
    println!(
        "upload of {RELEASE_MIB} MiB that do not compress and {TEXTS} texts, to a real sshd; seconds with the login, median of {RUNS}"
    );
    println!(
        "{:<24}{:>12}{:>10}{:>14}{:>10}",
        "", "0 ms", "ratio", "50 ms", "ratio"
    );
    let slow = delayed(server.address, Duration::from_millis(25)).await;
    let mut rows: Vec<(String, [f64; 2])> = Vec::new();
    for (place, address) in [server.address, slow].into_iter().enumerate() {
        let mut times: Vec<(String, Vec<f64>)> = Vec::new();
        for _ in 0..RUNS {
            note(&mut times, "vault-bake", {
                fresh(&to);
                let began = Instant::now();
                ours(address, &keys, &from, &to).await;
                began.elapsed()
            });
            for words in ["scp", "scp -C", "sftp", "sftp -C"] {
                fresh(&to);
                let began = Instant::now();
                theirs(words, address, &key, &from, &to);
                note(&mut times, words, began.elapsed());
            }
        }
        for (row, (name, mut seconds)) in times.into_iter().enumerate() {
            seconds.sort_by(f64::total_cmp);
            if place == 0 {
                rows.push((name, [0.0; 2]));
            }
            rows[row].1[place] = seconds[seconds.len() / 2];
        }
    }
    let least = rows[0].1;
    for (name, [fast, far]) in &rows {
        let (fast_ratio, far_ratio) = (fast / least[0], far / least[1]);
        println!("{name:<24}{fast:>12.2}{fast_ratio:>10.2}{far:>14.2}{far_ratio:>10.2}");
    }
}

fn note(times: &mut Vec<(String, Vec<f64>)>, name: &str, took: Duration) {
    let seconds = took.as_secs_f64();
    match times.iter_mut().find(|(known, _)| known == name) {
        Some((_, all)) => all.push(seconds),
        None => times.push((name.to_owned(), vec![seconds])),
    }
}

/// Makes what is uploaded.
fn prepare(from: &Path) {
    fs::create_dir_all(from.join("steps")).expect("a folder");
    // What an xorshift gives does not compress.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(RELEASE_MIB << 20);
    while bytes.len() < RELEASE_MIB << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    fs::write(from.join("vault.gz"), bytes).expect("a file");
    for number in 0..TEXTS {
        let line = format!("install -m 0644 files/{number}.conf /etc/{number}.conf\n");
        fs::write(from.join(format!("steps/{number}.sh")), line.repeat(60)).expect("a file");
    }
}

fn fresh(to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("an old folder goes");
    }
    fs::create_dir(to).expect("a folder");
}

async fn ours(address: SocketAddr, keys: &Keys, from: &Path, to: &Path) {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let endpoint: Endpoint = sshd::endpoint(address);
    let alive = async || None;
    let patience = Duration::from_secs(30);
    let connecting = Session::connect(
        &endpoint,
        keys,
        patience,
        alive,
        Scrubber::default(),
        &events,
        &interrupt,
    );
    let session = connecting.await.expect("a session");
    let (from, folder) = (from.to_owned(), to.display().to_string());
    let uploading = session.upload(
        &folder,
        None,
        move |archive| {
            let release = from.join("vault.gz");
            archive.file("vault.gz", 0o644, &release, Packing::Stored)?;
            archive.folder("steps", 0o755)?;
            (0..TEXTS).try_for_each(|number| {
                let name = format!("steps/{number}.sh");
                archive.file(&name, 0o644, &from.join(&name), Packing::Compressed)
            })
        },
        &events,
        &interrupt,
    );
    uploading.await.expect("an upload");
}

/// `scp` or `sftp`, as they come.
fn theirs(words: &str, address: SocketAddr, key: &Path, from: &Path, to: &Path) {
    let (program, compress) = match words.split_once(' ') {
        Some((program, option)) => (program, Some(option)),
        None => (words, None),
    };
    let mut command = Command::new(program);
    command.args([
        "-q",
        "-r",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    command.args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-P"]);
    command
        .arg(address.port().to_string())
        .arg("-i")
        .arg(key)
        .args(compress);
    let place = format!("{}@{}", sshd::own_name(), address.ip());
    let script = format!("put -r {}/* {}/\n", from.display(), to.display());
    match program {
        "scp" => {
            command
                .arg(from.join("vault.gz"))
                .arg(from.join("steps"))
                .arg(format!("{place}:{}", to.display()));
        }
        _ => {
            let batch = to.with_extension("batch");
            fs::write(&batch, script).expect("a batch");
            command.arg("-b").arg(batch).arg(place);
        }
    }
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words} fails: {said}");
    assert!(to.join("vault.gz").exists(), "{words} brought nothing");
}

/// A port that leads to `to`, with everything held back for so long in each direction. Bandwidth is not limited.
async fn delayed(to: SocketAddr, hold: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("the server");
            // Small packets are not to wait for others: the latency is ours alone.
            for socket in [&near, &far] {
                socket.set_nodelay(true).expect("an option");
            }
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(pass(near_read, far_write, hold));
            tokio::spawn(pass(far_read, near_write, hold));
        }
    });
    address
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    hold: Duration,
) {
    let (sender, mut held) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = held.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let due = Instant::now() + hold;
        if sender.send((due, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}
