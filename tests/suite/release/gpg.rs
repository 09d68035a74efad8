//! OpenPGP data that gpg makes at test time: a primary key with a signing subkey, as HashiCorp has,
//! and
//! defective variants.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::packet::SubpacketType;
use pgp::ser::Serialize;

use super::archives;

/// The version of all releases here.
pub const VERSION: &str = "1.2.3+fixture";
/// The file name of the archive.
pub const ARCHIVE: &str = "vault_1.2.3+fixture_linux_amd64.zip";

/// Certificates and signatures by their special property.
pub struct Lab {
    pub fingerprint: String,
    pub subkey: String,
    pub other_fingerprint: String,
    pub certificates: BTreeMap<&'static str, Vec<u8>>,
    /// Signatures of the checksums of the valid archive.
    pub signatures: BTreeMap<&'static str, Vec<u8>>,
    /// Checksum files and their signatures by name.
    pub signed_sums: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

/// Returns the shared lab of this run. Prints the reason and returns `None` if gpg is missing.
pub fn lab() -> Option<&'static Lab> {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    LAB.get_or_init(|| {
        let found = command("gpg").arg("--version").output().is_ok();
        found.then(build)
    })
    .as_ref()
    .or_else(|| {
        note("SKIPPED: gpg is not installed");
        None
    })
}

/// Returns the checksum file of one archive.
pub fn sums_of(archive: &[u8]) -> Vec<u8> {
    format!(
        "{}  {ARCHIVE}\n",
        vault_bake::digest::Digest::hash_bytes(archive).hex()
    )
    .into_bytes()
}

#[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
fn note(words: &str) {
    eprintln!("{words}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "gpg makes test data, and is no part of the library"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")
            .expect("a folder for gpg");
        Self(folder)
    }

    fn gpg(&self, time: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = command("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            .args([
                "--batch",
                "--quiet",
                "--no-tty",
                "--yes",
                "--pinentry-mode",
                "loopback",
            ])
            .args(["--passphrase", "", "--trust-model", "always"])
            .args(["--faked-system-time", time])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input).expect("gpg reads");
        drop(stdin);
        let output = child.wait_with_output().expect("gpg ends");
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Returns all fingerprints, the primary's first.
    fn fingerprints(&self) -> Vec<String> {
        let listing = self.gpg(NOW, &["--with-colons", "--list-keys"], b"");
        String::from_utf8(listing)
            .expect("text")
            .lines()
            .filter(|line| line.starts_with("fpr:"))
            .map(|line| line.split(':').nth(9).unwrap_or_default().to_owned())
            .collect()
    }

    fn key(&self, subkey_expires: &str) {
        self.gpg(
            MADE,
            &[
                "--quick-generate-key",
                "Fixture Releases",
                "rsa2048",
                "cert,sign",
                "never",
            ],
            b"",
        );
        let primary = &self.fingerprints()[0];
        self.gpg(
            MADE,
            &[
                "--quick-add-key",
                primary,
                "rsa2048",
                "sign",
                subkey_expires,
            ],
            b"",
        );
    }

    fn export(&self) -> Vec<u8> {
        self.gpg(NOW, &["--export"], b"")
    }

    fn edit(&self, commands: &str) {
        let primary = &self.fingerprints()[0];
        self.gpg(
            LATER,
            &["--command-fd", "0", "--expert", "--edit-key", primary],
            commands.as_bytes(),
        );
    }

    fn sign(&self, time: &str, options: &[&str], content: &[u8]) -> Vec<u8> {
        let arguments: Vec<&str> = options
            .iter()
            .copied()
            .chain(["--detach-sign", "--output", "-"])
            .collect();
        self.gpg(time, &arguments, content)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = command("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "gpg-agent"])
            .output();
    }
}

/// The times of keys and of most signatures, and the current time of the tests.
const MADE: &str = "20240101T000000!";
const LATER: &str = "20240301T000000!";
const NOW: &str = "20250601T000000!";

fn build() -> Lab {
    let home = Home::new();
    home.key("never");
    let prints = home.fingerprints();
    let good = sums_of(&archives::good());
    let mut certificates = BTreeMap::from([
        ("binary", home.export()),
        ("armoured", home.gpg(NOW, &["--armor", "--export"], b"")),
    ]);
    certificates.insert(
        "no back-signature",
        without_back_signature(&certificates["binary"]),
    );
    let by_primary = format!("{}!", prints[0]);
    let mut signatures = BTreeMap::from([
        ("binary", home.sign(LATER, &[], &good)),
        ("armoured", home.sign(LATER, &["--armor"], &good)),
        (
            "by the primary",
            home.sign(LATER, &["-u", &by_primary], &good),
        ),
        (
            "sha384",
            home.sign(LATER, &["--digest-algo", "SHA384"], &good),
        ),
        ("sha1", home.sign(LATER, &["--digest-algo", "SHA1"], &good)),
        ("text", home.sign(LATER, &["--textmode"], &good)),
        ("tomorrow", home.sign("20250601T230000!", &[], &good)),
        ("future", home.sign("20250603T000000!", &[], &good)),
        (
            "expired by itself",
            home.sign(LATER, &["--default-sig-expire", "1m"], &good),
        ),
    ]);
    let signed_sums = signed_sums(&home);
    revocations(&home, &prints[0], &mut certificates);
    expiring(&good, &mut certificates, &mut signatures);
    let other = Home::new();
    other.key("never");
    certificates.insert("other", other.export());
    let armoured = ["--armor", "--export"];
    certificates.insert("other, armoured", other.gpg(NOW, &armoured, b""));
    certificates.insert(
        "other, private",
        other.gpg(NOW, &["--armor", "--export-secret-keys"], b""),
    );
    home.gpg(NOW, &["--import"], &certificates["other"]);
    certificates.insert("both, armoured", home.gpg(NOW, &armoured, b""));
    certificates.insert("both", home.gpg(NOW, &["--export"], b""));
    signatures.insert("other", other.sign(LATER, &[], &good));
    Lab {
        fingerprint: prints[0].clone(),
        subkey: prints[1].clone(),
        other_fingerprint: other.fingerprints()[0].clone(),
        certificates,
        signatures,
        signed_sums,
    }
}

/// Valid signatures of the right key over wrong data.
fn signed_sums(home: &Home) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let good = String::from_utf8(sums_of(&archives::good())).expect("text");
    let (digits, file) = good.trim_end().split_once("  ").expect("two columns");
    let others = "0".repeat(64);
    let texts = [
        ("sums: listed twice", format!("{good}{others}  {ARCHIVE}\n")),
        (
            "sums: upper case",
            format!("{}  {file}\n", digits.to_uppercase()),
        ),
        ("sums: one space", format!("{digits} {file}\n")),
        ("sums: binary mark", format!("{digits} *{file}\n")),
        ("sums: carriage return", format!("{digits}  {file}\r\n")),
        ("sums: no line feed", format!("{digits}  {file}")),
        ("sums: short digest", format!("{}  {file}\n", &digits[1..])),
        ("sums: blank line", format!("{good}\n")),
        ("sums: a path", format!("{digits}  ../{file}\n")),
        ("sums: a comment", format!("# sums\n{good}")),
        ("sums: empty", String::new()),
        (
            "sums: another file only",
            format!("{digits}  vault_1.2.3+fixture_darwin_arm64.zip\n"),
        ),
    ];
    let texts = texts.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let archives = archives::all()
        .into_iter()
        .map(|(name, zip)| (name.to_owned(), sums_of(&zip)));
    texts
        .into_iter()
        .chain(archives)
        .map(|(name, sums)| {
            let signature = home.sign(LATER, &[], &sums);
            (name, (sums, signature))
        })
        .collect()
}

fn revocations(home: &Home, primary: &str, certificates: &mut BTreeMap<&'static str, Vec<u8>>) {
    let before = certificates["binary"].clone();
    let copy = || {
        let copy = Home::new();
        copy_folder(home.0.path(), copy.0.path());
        copy
    };
    let no_flag = copy();
    no_flag.edit("key 1\nchange-usage\ns\na\nq\nsave\n");
    certificates.insert("no sign flag", no_flag.export());
    let revoked = copy();
    revoked.edit("key 1\nrevkey\ny\n0\n\ny\nsave\n");
    certificates.insert("subkey revoked", revoked.export());
    let written = home
        .0
        .path()
        .join("openpgp-revocs.d")
        .join(format!("{primary}.rev"));
    let revocation = fs::read_to_string(written)
        .expect("gpg writes a revocation")
        .replace(":-----", "-----");
    let gone = copy();
    gone.gpg(NOW, &["--import"], revocation.as_bytes());
    certificates.insert("revoked", gone.export());
    assert_ne!(
        before, certificates["revoked"],
        "the revocation is in the certificate"
    );
}

/// A subkey that expired after a year, and the same certificate after an extension.
fn expiring(
    good: &[u8],
    certificates: &mut BTreeMap<&'static str, Vec<u8>>,
    signatures: &mut BTreeMap<&'static str, Vec<u8>>,
) {
    let home = Home::new();
    home.key("1y");
    let prints = home.fingerprints();
    certificates.insert("expiring", home.export());
    certificates.insert(
        "expiring, armoured",
        home.gpg(NOW, &["--armor", "--export"], b""),
    );
    signatures.insert("expiring, in time", home.sign(LATER, &[], good));
    home.gpg(
        "20240601T000000!",
        &["--quick-set-expire", &prints[0], "5y", &prints[1]],
        b"",
    );
    certificates.insert("prolonged", home.export());
    certificates.insert(
        "prolonged, armoured",
        home.gpg(NOW, &["--armor", "--export"], b""),
    );
    signatures.insert(
        "expiring, too late",
        home.sign("20250401T000000!", &[], good),
    );
}

fn without_back_signature(certificate: &[u8]) -> Vec<u8> {
    let mut parsed = SignedPublicKey::from_bytes(certificate).expect("gpg makes certificates");
    for signature in &mut parsed.public_subkeys[0].signatures {
        let place = signature
            .config()
            .and_then(|config| {
                config
                    .unhashed_subpackets()
                    .position(|part| part.typ() == SubpacketType::EmbeddedSignature)
            })
            .expect("gpg has subkeys sign back");
        signature
            .unhashed_subpacket_remove(place)
            .expect("it is there");
    }
    parsed.to_bytes().expect("it serializes")
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("gpg's folder").flatten() {
        let (kind, target) = (
            entry.file_type().expect("a type"),
            to.join(entry.file_name()),
        );
        if kind.is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
