//! Starts Azurite, Microsoft's emulator of Azure Blob Storage, and signs URLs for it.

#![expect(
    clippy::disallowed_methods,
    reason = "the emulator outlives the async runtime of a test"
)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use vault_bake::azure::AzureTransport;
use vault_bake::secret::Secret;
use vault_bake::store::blob::{Blob, Credential};

/// The well-known account of the emulator, and its published key.
pub const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const VERSION: &str = "2025-11-05";
const NEVER: &str = "2099-01-01T00:00:00Z";

/// A server, which ends when dropped. A start takes 1 s of CPU time, so the cases of a file share
/// one.
pub struct Azurite {
    child: Child,
    pub port: u16,
}

/// Starts a server. Returns `None` and prints the reason if Azurite is not installed.
pub fn azurite() -> Option<Azurite> {
    Azurite::start(&[])
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/azurite/node_modules/.bin/azurite-blob")
}

impl Azurite {
    /// Starts one with further arguments. It ends with this value or this process.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    pub fn start(more: &[&str]) -> Option<Self> {
        if !script().exists() {
            eprintln!("SKIPPED: Azurite is missing; `scripts/setup tests` installs it");
            return None;
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        // The shell kills the server when the pipe closes, however this process ends.
        let child = Command::new("sh")
            .args([
                "-c",
                "\"$@\" & server=$!; cat >/dev/null; kill -9 $server",
                "sh",
            ])
            .arg(script())
            .args(["--silent", "--disableTelemetry", "--inMemoryPersistence"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let azurite = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(azurite)
    }

    /// Makes a container and returns its name.
    pub async fn container(&self, name: &str) {
        let url = format!("{}?restype=container&{}", self.url(name), account_sas());
        let made = reqwest::Client::new()
            .put(url)
            .header("x-ms-version", VERSION);
        let answer = made.body("").header("content-length", "0").send().await;
        let status = answer.expect("an answer").status();
        assert_eq!(status.as_u16(), 201, "{name}");
    }

    /// Returns the URL of a container.
    pub fn url(&self, container: &str) -> String {
        url(self.port, container)
    }

    /// Returns a new container as a backend.
    pub async fn blob(&self, container: &str) -> Blob {
        self.container(container).await;
        open(self.port, container)
    }

    /// Overwrites a blob with `bytes`, as an attacker with the account key could.
    pub async fn overwrite(&self, container: &str, name: &str, bytes: Vec<u8>) {
        let url = format!("{}/{name}?{}", self.url(container), account_sas());
        let put = reqwest::Client::new()
            .put(url)
            .header("x-ms-version", VERSION);
        let answer = put
            .header("x-ms-blob-type", "BlockBlob")
            .body(bytes)
            .send()
            .await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 201);
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn url(port: u16, container: &str) -> String {
    format!("http://127.0.0.1:{port}/{ACCOUNT}/{container}")
}

/// Opens a container behind `port`, with a signature that permits all operations of a store.
pub fn open(port: u16, container: &str) -> Blob {
    open_with(port, container, "rcwl")
}

/// Opens a container behind `port`, with a signature that has these permissions.
pub fn open_with(port: u16, container: &str, permissions: &str) -> Blob {
    let credential = Credential::Sas(Secret::new(sas(container, permissions)));
    let address = url(port, container).parse().expect("an address");
    Blob::new(
        address,
        &credential,
        &AzureTransport::real(jiff::Timestamp::default),
    )
    .expect("a client")
}

/// Signs access to one container with these permissions.
pub fn sas(container: &str, permissions: &str) -> String {
    sas_until(container, permissions, NEVER)
}

/// Signs access to one container with these permissions and this expiry.
pub fn sas_until(container: &str, permissions: &str, until: &str) -> String {
    let resource = format!("/blob/{ACCOUNT}/{container}");
    let text = [
        permissions,
        "",
        until,
        &resource,
        "",
        "",
        "",
        VERSION,
        "c",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ];
    let signature = sign(&text.join("\n"));
    format!("sp={permissions}&se={until}&sv={VERSION}&sr=c&sig={signature}")
}

fn account_sas() -> String {
    let text = format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{NEVER}\n\n\n{VERSION}\n\n");
    let signature = sign(&text);
    format!("sp=rwdlac&ss=b&srt=sco&se={NEVER}&sv={VERSION}&sig={signature}")
}

fn sign(text: &str) -> String {
    let key = openssl::base64::decode_block(KEY).expect("base64");
    let key = PKey::hmac(&key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a signer");
    let signature = signer
        .sign_oneshot_to_vec(text.as_bytes())
        .expect("a signature");
    let text = openssl::base64::encode_block(&signature);
    text.replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}
