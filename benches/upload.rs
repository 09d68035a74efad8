//! Compares uploads with `scp` and `sftp` to the same local `sshd` (`make bench`).
//! Uploads a compressed release and small text files, without latency and with 25 ms one way.
//! Prints medians and ratios, of `scp` and `sftp` also with `-C`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a separate program, which times others"
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

/// Size of the compressed release: smaller than Vault, to limit the time of the slowest program.
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
    // OpenSSH requires a line feed at the end of a key file.
    let text = format!("{}\n", keys.user_private.expose().trim_end());
    let mut file = file.expect("a key file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("a key");
    let server = Sshd::start(&keys);
    let to = folder.path().join("to");
    println!(
        "upload of {RELEASE_MIB} MiB of incompressible data and {TEXTS} text files to sshd; seconds with login, median of {RUNS}"
    );
    println!(
        "{:<24}{:>12}{:>10}{:>14}{:>10}",
        "", "0 ms", "ratio", "50 ms", "ratio"
    );
    let slow = delayed(server.address, Duration::from_millis(25)).await;
    let mut rows: Vec<(String, [f64; 2])> = Vec::new();
    for (column, address) in [server.address, slow].into_iter().enumerate() {
        let mut times: Vec<(String, Vec<f64>)> = Vec::new();
        for _ in 0..RUNS {
            record(&mut times, "vault-bake", {
                empty_folder(&to);
                let began = Instant::now();
                upload(address, &keys, &from, &to).await;
                began.elapsed()
            });
            for command in ["scp", "scp -C", "sftp", "sftp -C"] {
                empty_folder(&to);
                let began = Instant::now();
                upload_with(command, address, &key, &from, &to);
                record(&mut times, command, began.elapsed());
            }
        }
        for (row, (name, mut seconds)) in times.into_iter().enumerate() {
            seconds.sort_by(f64::total_cmp);
            if column == 0 {
                rows.push((name, [0.0; 2]));
            }
            rows[row].1[column] = seconds[seconds.len() / 2];
        }
    }
    let least = rows[0].1;
    for (name, [direct, delayed]) in &rows {
        let (direct_ratio, delayed_ratio) = (direct / least[0], delayed / least[1]);
        println!(
            "{name:<24}{direct:>12.2}{direct_ratio:>10.2}{delayed:>14.2}{delayed_ratio:>10.2}"
        );
    }
}

fn record(times: &mut Vec<(String, Vec<f64>)>, name: &str, took: Duration) {
    let seconds = took.as_secs_f64();
    match times.iter_mut().find(|(known, _)| known == name) {
        Some((_, all)) => all.push(seconds),
        None => times.push((name.to_owned(), vec![seconds])),
    }
}

/// Makes the files to upload.
fn prepare(from: &Path) {
    fs::create_dir_all(from.join("steps")).expect("a folder");
    // The output of xorshift does not compress.
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

fn empty_folder(to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("the old folder is removed");
    }
    fs::create_dir(to).expect("a folder");
}

async fn upload(address: SocketAddr, keys: &Keys, from: &Path, to: &Path) {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let endpoint: Endpoint = sshd::endpoint(address);
    let alive = async || None;
    let timeout = Duration::from_secs(30);
    let connecting = Session::connect(
        &endpoint,
        keys,
        timeout,
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

/// Uploads with `scp` or `sftp`, with their defaults.
fn upload_with(words: &str, address: SocketAddr, key: &Path, from: &Path, to: &Path) {
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
    let remote = format!("{}@{}", sshd::own_name(), address.ip());
    let script = format!("put -r {}/* {}/\n", from.display(), to.display());
    match program {
        "scp" => {
            command
                .arg(from.join("vault.gz"))
                .arg(from.join("steps"))
                .arg(format!("{remote}:{}", to.display()));
        }
        _ => {
            let batch = to.with_extension("batch");
            fs::write(&batch, script).expect("a batch");
            command.arg("-b").arg(batch).arg(remote);
        }
    }
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words} fails: {errors}");
    assert!(to.join("vault.gz").exists(), "{words} uploaded nothing");
}

/// Returns the address of a proxy to `to` that delays all data in each direction. It does not limit
/// bandwidth.
async fn delayed(to: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.expect("the server");
            // Nagle's algorithm would add latency.
            for socket in [&client, &server] {
                socket.set_nodelay(true).expect("an option");
            }
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::spawn(forward(client_read, server_write, delay));
            tokio::spawn(forward(server_read, client_write, delay));
        }
    });
    address
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let due = Instant::now() + delay;
        if sender.send((due, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}
