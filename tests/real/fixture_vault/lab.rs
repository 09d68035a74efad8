//! A Consul server, stub Vaults, and a client for both.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use reqwest::{Client, Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use vault_bake::event::Events;
use vault_bake::process::{Program, Running};
use vault_bake::release::{
    Architecture, LockedRelease, ReleaseMirror, ReleaseName, fetch, resolve,
};
use vault_bake::wait::{Interrupt, Poll, Wait};

/// A folder with binaries, certificates and a running Consul server.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub authority: CertifiedIssuer<'static, KeyPair>,
    /// Members of the nodes' configuration, in addition to those of all tests.
    pub extra: serde_json::Map<String, Value>,
    /// The host in the address for other nodes. The template needs a computer with a private one.
    pub cluster_host: &'static str,
    consul_port: u16,
    consul_server: Running,
}

pub struct Node {
    pub running: Running,
    pub base: String,
    ports: [u16; 2],
}

impl Lab {
    pub async fn start(mirror: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (product, version) in [("consul", "1.8.7"), ("vault", "1.15.6+fixture")] {
            unpack(mirror, product, version, folder.path()).await;
        }
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = called("fixture authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an authority");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        certify(&authority, folder.path(), "consul");
        let [https, server, serf] = [free_port(), free_port(), free_port()];
        let at = |file: &str| folder.path().join(file).display().to_string();
        let config = json!({
            "node_name": "consul-1", "datacenter": "dc1", "server": true, "bootstrap_expect": 1,
            "bind_addr": "127.0.0.1", "data_dir": at("consul-data"),
            "ports": {"http": -1, "https": https, "dns": -1, "grpc": -1, "server": server, "serf_lan": serf, "serf_wan": -1},
            "ca_file": at("ca.pem"), "cert_file": at("consul.crt"), "key_file": at("consul.key"),
            "verify_incoming": true, "verify_outgoing": true,
        });
        fs::write(at("consul.json"), config.to_string()).expect("a file");
        let consul = Program::new(folder.path().join("consul"))
            .args(["agent", "-config-file"])
            .arg(at("consul.json"))
            .start()
            .expect("Consul starts");
        Self {
            folder,
            authority,
            extra: serde_json::Map::new(),
            cluster_host: "{{ GetPrivateIP }}",
            consul_port: https,
            consul_server: consul,
        }
    }

    /// Runs a command of Consul's own client.
    pub async fn consul(&self, arguments: &[&str]) -> String {
        let at = |file: &str| self.folder.path().join(file).display().to_string();
        let address = format!("https://127.0.0.1:{}", self.consul_port);
        let command = Program::new(self.folder.path().join("consul"))
            .args(arguments)
            .env("CONSUL_HTTP_ADDR", &address)
            .env("CONSUL_CACERT", at("ca.pem"))
            .env("CONSUL_CLIENT_CERT", at("consul.crt"))
            .env("CONSUL_CLIENT_KEY", at("consul.key"));
        let output = command.run(&Interrupt::default()).await;
        String::from_utf8_lossy(&output.expect("it runs")).into_owned()
    }

    fn client(&self) -> Client {
        self.client_builder().build().expect("a client")
    }

    pub fn client_builder(&self) -> reqwest::ClientBuilder {
        let authority =
            reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).expect("a certificate");
        Client::builder()
            .tls_certs_only([authority])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
    }

    pub fn signal_consul(&self, signal: Signal) {
        send(&self.consul_server, signal);
    }

    /// Returns a client for Consul, and the URL of its API.
    pub fn consul_client(&self) -> (Client, String) {
        let read = |file| fs::read(self.folder.path().join(file)).expect("a file");
        let identity = reqwest::Identity::from_pkcs8_pem(&read("consul.crt"), &read("consul.key"));
        let client = self
            .client_builder()
            .identity(identity.expect("an identity"));
        let base = format!("https://127.0.0.1:{}/v1", self.consul_port);
        (client.build().expect("a client"), base)
    }

    pub async fn vault(&self, name: &str) -> Node {
        certify(&self.authority, self.folder.path(), name);
        self.start_vault(name, [free_port(), free_port()]).await
    }

    /// Starts a node again after its end.
    pub async fn restart(&self, name: &str, mut node: Node) -> Node {
        node.signal(rustix::process::Signal::TERM);
        node.running.wait().await.expect("it ends");
        self.start_again(name, &node).await
    }

    /// Starts a node that ended.
    pub async fn start_again(&self, name: &str, ended: &Node) -> Node {
        self.start_vault(name, ended.ports).await
    }

    /// Starts a node with its port for clients and its port for other nodes.
    async fn start_vault(&self, name: &str, ports: [u16; 2]) -> Node {
        let [port, cluster] = ports;
        let mut config = vault_config(self.folder.path(), name, port, self.consul_port);
        config["cluster_addr"] = json!(format!("https://{}:{cluster}", self.cluster_host));
        config["listener"][0]["tcp"]["cluster_address"] = json!(format!("0.0.0.0:{cluster}"));
        for (key, value) in &self.extra {
            config[key] = value.clone();
        }
        let path = self.folder.path().join(format!("{name}.json"));
        fs::write(&path, config.to_string()).expect("a file");
        let running = Program::new(self.folder.path().join("vault"))
            .arg("server")
            .arg(format!("-config={}", path.display()))
            .start()
            .expect("Vault starts");
        let node = Node {
            running,
            base: format!("https://127.0.0.1:{port}"),
            ports,
        };
        // Consul needs some seconds to elect a leader.
        node.wait_until(self, "Vault to answer", |status| {
            matches!(status, 501 | 503)
        })
        .await;
        node
    }
}

impl Node {
    pub async fn ask(
        &self,
        lab: &Lab,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let request = lab
            .client()
            .request(method, format!("{}/v1/{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["x-vault-stub"], "fixture");
        let status = answer.status();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default(),
        )
    }

    pub async fn send(
        &self,
        lab: &Lab,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let url = format!("{}/v1/{path}", self.base);
        let request = lab
            .client()
            .request(method, url)
            .header("x-vault-token", token)
            .body(body.to_string());
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default(),
        )
    }

    /// Returns the answer to a request that succeeds.
    pub async fn done(
        &self,
        lab: &Lab,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Value {
        let (status, answer) = self.send(lab, method, path, token, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Returns status and first error of a request that fails.
    pub async fn refusal(
        &self,
        lab: &Lab,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (u16, String) {
        let (status, answer) = self.send(lab, method, path, token, body).await;
        assert!(!status.is_success(), "{path}: {status} {answer}");
        let error = answer["errors"][0].as_str().unwrap_or_default();
        (status.as_u16(), error.trim().replace("\n\t* ", " "))
    }

    pub async fn unseal(&self, lab: &Lab, made: &Value) {
        for key in made["keys"].as_array().expect("keys").iter().take(2) {
            let (status, _) = self
                .send(lab, Method::PUT, "sys/unseal", "", &json!({"key": key}))
                .await;
            assert_eq!(status, StatusCode::OK);
        }
    }

    pub async fn health(&self, lab: &Lab, query: &str) -> u16 {
        self.ask(lab, Method::GET, &format!("sys/health{query}"), &[])
            .await
            .0
            .as_u16()
    }

    pub async fn wait_for_health(&self, lab: &Lab, wanted: u16) {
        self.wait_until(lab, &format!("health {wanted}"), |status| status == wanted)
            .await;
    }

    async fn wait_until(&self, lab: &Lab, what: &str, wanted: impl Fn(u16) -> bool) {
        let (client, url) = (lab.client(), format!("{}/v1/sys/health", self.base));
        Wait::new(what, Duration::from_secs(60))
            .until(&Events::silent(), &Interrupt::default(), || async {
                match client.get(&url).send().await {
                    Ok(answer) if wanted(answer.status().as_u16()) => Poll::<_, String>::Ready(()),
                    Ok(answer) => Poll::NotYet(answer.status().to_string()),
                    Err(error) => Poll::NotYet(format!("{error:?}")),
                }
            })
            .await
            .unwrap_or_else(|error| panic!("{error}; {:?}", self.running.last_lines()));
    }

    pub fn signal(&self, signal: Signal) {
        send(&self.running, signal);
    }
}

fn send(running: &Running, signal: Signal) {
    let pid = i32::try_from(running.pid().expect("it runs")).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("it takes signals");
}

/// Returns the fixture mirror of this build folder. Prints the reason and returns `None` if that
/// fails.
pub async fn mirror() -> Option<PathBuf> {
    for program in ["python3", "gpg", "apt-get", "dpkg-deb", "openssl"] {
        if !installed(program).await {
            return None;
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixture-mirror");
    let make = Program::new(fixture("make")).arg(&folder);
    make.run(&Interrupt::default())
        .await
        .expect("the fixture mirror is made");
    Some(folder)
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub async fn installed(program: &str) -> bool {
    let argument = if program == "openssl" {
        "version"
    } else {
        "--version"
    };
    let found = Program::new(program)
        .arg(argument)
        .run(&Interrupt::default())
        .await
        .is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixture-mirror")
        .join(file)
}

/// Returns the stub, as the mirror has it but not packed.
pub fn stub() -> Program {
    Program::new("/usr/bin/python3")
        .arg("-B")
        .arg(fixture("vault"))
}

/// Takes a release from the mirror as a build does, and puts its binary into `folder`.
pub async fn unpack(mirror: &Path, product: &str, version: &str, folder: &Path) {
    let fingerprint = fs::read_to_string(mirror.join("fingerprint")).expect("the fingerprint");
    let source = ReleaseMirror {
        base: mirror.display().to_string(),
        key_file: Some(mirror.join("key.asc")),
        fingerprint: fingerprint.trim().to_owned(),
    };
    let locked = unpack_from(&source, product, version, folder).await;
    assert!(!locked.official, "the fixture never passes for HashiCorp's");
}

/// Takes a release from any mirror, and puts its binary into `folder`.
pub async fn unpack_from(
    source: &ReleaseMirror,
    product: &str,
    version: &str,
    folder: &Path,
) -> LockedRelease {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    #[expect(
        clippy::disallowed_methods,
        reason = "the mirror was signed just now, by the clock of this machine"
    )]
    let now = jiff::Timestamp::now();
    let name = ReleaseName {
        product,
        version,
        architecture: Architecture::X86_64,
    };
    let locked = resolve(source, name, now, &events, &interrupt)
        .await
        .expect("it resolves");
    let cache = folder.join("cache");
    let verified = fetch(source, &locked, &cache, now, &events, &interrupt)
        .await
        .expect("it verifies");
    let gz = fs::File::open(&verified.binary_gz).expect("the gzip file");
    let binary = folder.join(product);
    let mut file = fs::File::create(&binary).expect("a file");
    std::io::copy(&mut GzDecoder::new(gz), &mut file).expect("it decompresses");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("it may run");
    locked
}

pub fn certify(authority: &CertifiedIssuer<'static, KeyPair>, folder: &Path, name: &str) {
    let names = [
        "server.dc1.consul",
        "vault.service.consul",
        "localhost",
        "127.0.0.1",
    ];
    let mut params = CertificateParams::new(names.map(str::to_owned)).expect("parameters");
    params.distinguished_name = called(name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    fs::write(folder.join(format!("{name}.crt")), certificate.pem()).expect("a file");
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

pub fn vault_config(folder: &Path, name: &str, port: u16, consul_port: u16) -> Value {
    let at = |file: &str| folder.join(file).display().to_string();
    let (certificate, key) = (at(&format!("{name}.crt")), at(&format!("{name}.key")));
    json!({
        "storage": {"consul": {
            "address": format!("127.0.0.1:{consul_port}"), "scheme": "https", "path": "vault/", "session_ttl": "15s",
            "tls_ca_file": at("ca.pem"), "tls_cert_file": certificate, "tls_key_file": key,
        }},
        "listener": [{"tcp": {
            "address": format!("127.0.0.1:{port}"), "tls_cert_file": certificate, "tls_key_file": key,
            "tls_min_version": "tls12",
        }}],
        "api_addr": format!("https://127.0.0.1:{port}"),
        "cluster_addr": format!("https://{{{{ GetPrivateIP }}}}:{}", port.saturating_add(1)),
        "disable_mlock": true,
    })
}

/// Returns a free port.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
