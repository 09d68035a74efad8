//! `fetch-identity` with fake servers of the metadata service and of Key Vault, the latter over
//! TLS.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use openssl::base64::encode_block;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

use super::folder;
use super::identity::{Authority, Node, archive, good};

const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.canary.signature";

/// Responses by the beginning of the path: status and body. The last one repeats.
type Answers = BTreeMap<&'static str, Vec<(u16, String)>>;

/// A fake server of either kind, until the test ends.
struct FakeServer {
    port: u16,
    /// Every request: its first line and the relevant headers.
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    fn start(answers: Answers, acceptor: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (Mutex::new(answers), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                match &acceptor {
                    None => answer(stream, &answers, &seen),
                    // A client that does not trust the certificate closes the connection.
                    Some(acceptor) => match acceptor.accept(stream) {
                        Ok(stream) => answer(stream, &answers, &seen),
                        Err(_) => continue,
                    },
                }
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(stream: impl Read + Write, answers: &Mutex<Answers>, requests: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(first) = lines.first().cloned() else {
        return;
    };
    let headers = lines.iter().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        ["metadata", "authorization"].contains(&name.to_ascii_lowercase().as_str())
    });
    let lines: Vec<&str> = [first.as_str()]
        .into_iter()
        .chain(headers.map(String::as_str))
        .collect();
    requests.lock().unwrap().push(lines.join(" | "));
    let path = first.split(' ').nth(1).unwrap_or_default();
    let mut answers = answers.lock().unwrap();
    // The longest beginning is the most exact one.
    let known = answers
        .iter_mut()
        .rev()
        .find(|(start, _)| path.starts_with(**start));
    let (status, body) = match known {
        Some((_, left)) if left.len() > 1 => left.remove(0),
        Some((_, left)) => left[0].clone(),
        None => (404, String::new()),
    };
    // A client may close the connection.
    let _ = write!(
        stream.get_mut(),
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLocation: https://elsewhere.test/\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.get_mut().flush();
}

const USER_DATA: &str = "/metadata/instance/compute/userData";
const TOKENS: &str = "/metadata/identity/oauth2/token";
const SECRET: &str = "/secrets/";

/// Returns the response of Key Vault with a secret.
fn secret(value: &[u8]) -> String {
    let value = encode_block(value);
    format!(
        r#"{{"value":"{value}","contentType":"application/x-tar","id":"https://kv/secrets/node-1/1","attributes":{{"enabled":true}},"tags":{{"value":"no"}}}}"#
    )
}

fn user_data(text: &str) -> (u16, String) {
    (200, encode_block(text.as_bytes()))
}

/// A node, the two services, and their responses.
struct Scene {
    node: Node,
    authority: Authority,
    metadata: Answers,
    vault: Answers,
    /// The user data; `VAULT` is replaced by the address of the Key Vault.
    pointer: String,
    /// Whether the node trusts the authority of the Key Vault's certificate.
    trusts: bool,
    wait_s: u32,
}

/// The result of a fetch.
struct Fetched {
    content: bool,
    words: String,
    /// The requests to the metadata service and to Key Vault.
    requests: (Vec<String>, Vec<String>),
    arguments: String,
}

impl Scene {
    fn new() -> Option<Self> {
        let (node, authority) = (Node::new()?, Authority::new());
        let seed = archive(&good(&authority));
        let token = format!(
            r#"{{"access_token":"{TOKEN}","client_id":"1","expires_in":"86400","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
        );
        Some(Self {
            node,
            authority,
            metadata: BTreeMap::from([(TOKENS, vec![(200, token)])]),
            vault: BTreeMap::from([(SECRET, vec![(200, secret(&seed))])]),
            pointer: "#cloud-config\n# vault-bake-seed=VAULT/secrets/node-1/0123456789abcdef\n"
                .to_owned(),
            trusts: true,
            wait_s: 0,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs the shipped program")]
    fn run(&self, arguments: &[&str]) -> Fetched {
        let files = self.node.files.path();
        let (certificate, key) = self.authority.issue(&["localhost"], |_| ());
        let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls()).unwrap();
        let key = PKey::private_key_from_pem(key.as_bytes()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        let certificate = X509::from_pem(certificate.as_bytes()).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        let vault = FakeServer::start(self.vault.clone(), Some(acceptor.build()));
        let address = format!("https://localhost:{}", vault.port);

        let mut answers = self.metadata.clone();
        let text = self.pointer.replace("VAULT", &address);
        answers
            .entry(USER_DATA)
            .or_insert_with(|| vec![user_data(&text)]);
        let metadata = FakeServer::start(answers, None);

        let other = Authority::new();
        let ca = if self.trusts { &self.authority } else { &other };
        fs::write(files.join("ca.pem"), &ca.1).unwrap();
        let config = format!(
            "key_vaults='https://other.vault.azure.net {address}'\nmetadata_url='http://127.0.0.1:{}'\naudience='https://vault.azure.net'\n\
             ca_file='{}'\nseed_device='{}'\nwait_s={}\n",
            metadata.port,
            files.join("ca.pem").display(),
            files.join("device").display(),
            self.wait_s
        );
        fs::write(files.join("key-vault.conf"), config).unwrap();
        // The arguments that any user can read in the list of processes.
        let curl =
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"${0%/*}/arguments\"\nexec /usr/bin/curl \"$@\"\n";
        fs::write(files.join("curl"), curl).unwrap();
        fs::set_permissions(files.join("curl"), fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("sh")
            .arg(folder().join("base/files/fetch-identity"))
            .args(arguments)
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", files.display()),
            )
            .env("VB_FETCH_CONFIG", files.join("key-vault.conf"))
            .env("VB_IDENTITY_RUN", self.node.run.path())
            .output()
            .unwrap();
        let words = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        Fetched {
            content: output.status.success(),
            words: words.trim().replace(&address, "VAULT"),
            requests: (metadata.requests(), vault.requests()),
            arguments: fs::read_to_string(files.join("arguments")).unwrap_or_default(),
        }
    }

    fn fetch(&self) -> Fetched {
        self.run(&[])
    }

    fn seed(&self) -> Option<Vec<u8>> {
        fs::read(self.node.run.path().join("vault-bake-seed/seed.tar")).ok()
    }
}

#[test]
fn an_identity_is_fetched_and_taken_and_the_token_stays_hidden() {
    let Some(scene) = Scene::new() else { return };
    let fetched = scene.fetch();
    assert!(fetched.content, "{}", fetched.words);
    insta::assert_snapshot!(fetched.words, @"vault-bake identity fetched from VAULT/secrets/node-1/0123456789abcdef");
    insta::assert_snapshot!(fetched.requests.0.join("\n"), @"
    GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text HTTP/1.1 | Metadata: true
    GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1 | Metadata: true
    ");
    insta::assert_snapshot!(fetched.requests.1.join("\n"), @"GET /secrets/node-1/0123456789abcdef?api-version=7.4 HTTP/1.1 | Authorization: Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.canary.signature");
    assert!(
        !fetched.arguments.is_empty() && !fetched.arguments.contains("canary"),
        "{}",
        fetched.arguments
    );
    insta::assert_snapshot!(scene.node.left().join("\n"), @"700 600 vault-bake-seed/seed.tar");

    // `identity` then uses the archive, each time it starts.
    for _ in 0..2 {
        let (content, words) = scene.node.take_fetched();
        assert!(content, "{words}");
    }
    assert!(
        scene
            .node
            .left()
            .iter()
            .any(|file| file.ends_with("vault-tls/tls.key"))
    );
}

const CLIENT_ID: &str = "01234567-89ab-cdef-0123-456789ABCDEF";

/// With several identities, the user data names one of them.
#[test]
fn an_identity_is_fetched_as_the_managed_identity_that_the_user_data_names() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.pointer = format!("{}# vault-bake-client-id={CLIENT_ID}\n", scene.pointer);
    let token = scene.metadata[TOKENS].clone();
    // Without the client id, the metadata service refuses.
    scene.metadata = BTreeMap::from([(TOKENS, several_identities()), (NAMED_TOKENS, token)]);
    let fetched = scene.fetch();
    assert!(fetched.content, "{}", fetched.words);
    insta::assert_snapshot!(fetched.requests.0[1], @"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net&client_id=01234567-89ab-cdef-0123-456789ABCDEF HTTP/1.1 | Metadata: true");
    scene.pointer = "vault-bake-seed=VAULT/secrets/node-1".to_owned();
    assert!(!scene.fetch().content);
}

/// The beginning of a request with a client id.
const NAMED_TOKENS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net&client_id=01234567-89ab-cdef-0123-456789ABCDEF";

/// The answer of the metadata service of a machine with several identities to a request that names
/// none.
fn several_identities() -> Vec<(u16, String)> {
    vec![(400, SEVERAL.to_owned())]
}

const SEVERAL: &str = r#"{"error":"invalid_request","error_description":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#;

/// A valid archive replaces the one in use; an invalid one does not.
#[test]
fn a_renewed_identity_is_fetched_next_to_the_one_in_use() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    assert!(scene.fetch().content && scene.node.run(&[]).0);
    let (seed, files) = (scene.seed(), scene.node.files());

    // No archive was fetched.
    let answers = std::mem::take(&mut scene.vault);
    let fetched = scene.run(&["renew"]);
    assert!(!fetched.content);
    insta::assert_snapshot!(fetched.words, @"vault-bake identity not renewed: there is no VAULT/secrets/node-1/0123456789abcdef");
    let (content, words) = scene.node.run(&["renew"]);
    assert!(!content);
    insta::assert_snapshot!(words, @"vault-bake identity not renewed: nothing was fetched: the journal of vault-bake-fetch-identity.service says why");
    assert_eq!(
        (scene.seed(), scene.node.files()),
        (seed.clone(), files.clone())
    );

    // An invalid archive was fetched.
    let another = archive(&good(&Authority::new()));
    scene.vault = BTreeMap::from([(SECRET, vec![(200, secret(&another))])]);
    assert!(scene.run(&["renew"]).content && !scene.node.run(&["renew"]).0);
    assert_eq!((scene.seed(), scene.node.files()), (seed, files.clone()));

    // A valid archive was fetched.
    let renewed = archive(&good(&scene.authority));
    scene.vault = answers;
    scene.vault.insert(SECRET, vec![(200, secret(&renewed))]);
    assert!(scene.run(&["renew"]).content);
    let (content, words) = scene.node.run(&["renew"]);
    assert!(content, "{words}");
    assert_eq!(scene.seed(), Some(renewed));
    assert_ne!(scene.node.files(), files);
    let folders = fs::read_dir(scene.node.run.path()).unwrap();
    let folders = folders.map(|one| one.unwrap().file_name());
    assert!(
        folders
            .into_iter()
            .all(|name| name != "vault-bake-seed.new")
    );
}

#[test]
fn an_archive_may_be_compressed() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let seed = archive(&good(&scene.authority));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&seed).unwrap();
    let small = gzip.finish().unwrap();
    assert!(secret(&small).len() < 25_000, "it fits into a secret");
    scene.vault = BTreeMap::from([(SECRET, vec![(200, secret(&small))])]);
    let fetched = scene.fetch();
    assert!(fetched.content, "{}", fetched.words);
    assert_eq!(scene.seed(), Some(seed));
}

#[test]
fn an_identity_disk_comes_first_without_a_request() {
    let Some(scene) = Scene::new() else { return };
    fs::write(scene.node.files.path().join("device"), "a seed").unwrap();
    let fetched = scene.fetch();
    assert!(fetched.content, "{}", fetched.words);
    assert_eq!(fetched.requests, (Vec::new(), Vec::new()));
}

#[test]
fn services_that_are_just_starting_are_waited_for() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.wait_s = 10;
    for (answers, path) in [(&mut scene.metadata, TOKENS), (&mut scene.vault, SECRET)] {
        let good = answers[path].clone();
        let slow = [(503, String::new()), (429, String::new())]
            .into_iter()
            .chain(good);
        answers.insert(path, slow.collect());
    }
    let fetched = scene.fetch();
    assert!(fetched.content, "{}", fetched.words);
    assert_eq!(fetched.requests.1.len(), 3);
}

/// Defects of a scene.
enum Wrong {
    UserData(&'static str),
    Metadata(&'static str, u16, &'static str),
    /// A line of the user data, and the answer to the request for a token.
    Identity(&'static str, u16, &'static str),
    Vault(u16, &'static str),
    Authority,
}

const WRONG: &[(&str, Wrong)] = &[
    ("no metadata service", Wrong::Metadata(USER_DATA, 500, "")),
    ("no user data", Wrong::UserData("")),
    (
        "another vault",
        Wrong::UserData("vault-bake-seed=https://evil.vault.azure.net/secrets/a"),
    ),
    (
        "a name that begins alike",
        Wrong::UserData("vault-bake-seed=VAULT.evil.test/secrets/a"),
    ),
    (
        "another user",
        Wrong::UserData("vault-bake-seed=VAULT@evil.test/secrets/a"),
    ),
    (
        "a key, no secret",
        Wrong::UserData("vault-bake-seed=VAULT/keys/a"),
    ),
    (
        "a way around",
        Wrong::UserData("vault-bake-seed=VAULT/secrets/../keys/a"),
    ),
    (
        "a query",
        Wrong::UserData("vault-bake-seed=VAULT/secrets/a?x=y"),
    ),
    (
        "two pointers",
        Wrong::UserData("vault-bake-seed=VAULT/secrets/a\nvault-bake-seed=VAULT/secrets/b"),
    ),
    (
        "no identity",
        Wrong::Metadata(TOKENS, 400, r#"{"error":"invalid_request"}"#),
    ),
    ("several identities", Wrong::Metadata(TOKENS, 400, SEVERAL)),
    (
        "another identity",
        Wrong::Identity(
            "vault-bake-client-id=01234567-89ab-cdef-0123-456789abcdef",
            400,
            r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
        ),
    ),
    (
        "no client id",
        Wrong::UserData("vault-bake-seed=VAULT/secrets/a\nvault-bake-client-id=web&x=y"),
    ),
    (
        "two client ids",
        Wrong::UserData(
            "vault-bake-seed=VAULT/secrets/a\nvault-bake-client-id=01234567-89ab-cdef-0123-456789abcdef\nvault-bake-client-id=01234567-89ab-cdef-0123-456789abcdef",
        ),
    ),
    (
        "no token",
        Wrong::Metadata(TOKENS, 200, r#"{"access_token":"a\"b"}"#),
    ),
    ("no role", Wrong::Vault(403, "")),
    ("no secret", Wrong::Vault(404, "")),
    ("a redirect", Wrong::Vault(302, "")),
    ("an unknown authority", Wrong::Authority),
    ("no value", Wrong::Vault(200, r#"{"id":"x"}"#)),
    ("no base64", Wrong::Vault(200, r#"{"value":"***"}"#)),
];

#[test]
fn a_refusal_has_a_message_and_leaves_nothing() {
    let mut lines = Vec::new();
    for (name, wrong) in WRONG {
        let Some(mut scene) = Scene::new() else {
            return;
        };
        match wrong {
            Wrong::UserData(text) => scene.pointer = (*text).to_owned(),
            Wrong::Metadata(path, status, body) => {
                let answer = (*status, (*body).to_owned());
                scene.metadata.insert(path, vec![answer]);
            }
            Wrong::Identity(line, status, body) => {
                scene.pointer = format!("{}{line}\n", scene.pointer);
                let answer = (*status, (*body).to_owned());
                scene.metadata.insert(TOKENS, vec![answer]);
            }
            Wrong::Vault(status, body) => {
                let answer = (*status, (*body).to_owned());
                scene.vault.insert(SECRET, vec![answer]);
            }
            Wrong::Authority => scene.trusts = false,
        }
        let Fetched {
            content,
            words,
            requests,
            ..
        } = scene.fetch();
        assert!(!content, "{name}: {words}");
        assert!(!words.contains("canary"), "{name}: {words}");
        assert_eq!(scene.node.left(), [""; 0], "{name}");
        let all = requests.0.iter().chain(&requests.1);
        let with_token = all.filter(|request| request.contains("Bearer")).count();
        // The rest is curl's own text.
        let words = words.split(" curl: ").next().unwrap_or_default();
        lines.push(format!("{name} ({with_token} with the token): {words}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// `identity` checks a fetched archive in the same way as one from a disk.
#[test]
fn what_was_fetched_is_not_believed() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let mut seed = good(&scene.authority);
    seed.remove("vault/tls.key");
    scene.vault = BTreeMap::from([(SECRET, vec![(200, secret(&archive(&seed)))])]);
    assert!(scene.fetch().content);
    let (content, words) = scene.node.take_fetched();
    assert!(!content);
    insta::assert_snapshot!(words, @"vault-bake identity refused: the seed lacks vault/tls.key");
    assert_eq!(scene.node.left(), [""; 0]);
}
