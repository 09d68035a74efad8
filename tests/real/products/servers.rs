//! Consul servers on loopback, with TLS and ACLs that deny by default.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use vault_bake::event::Events;
use vault_bake::identity::Leaf;
use vault_bake::network::Network;
use vault_bake::process::{Program, Running};
use vault_bake::product::consul::Client;
use vault_bake::product::{ApiError, Endpoint, TlsMaterial};
use vault_bake::secret::Secret;
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::fixture_vault::lab::{certify, unpack};
use crate::project::Releases;

/// The token that may do everything.
const MANAGEMENT: &str = "5e0fa3d1-9a0c-4c7b-8f3e-0d6a1f5c2b47";

/// Consul servers that form a cluster.
pub struct Servers {
    pub management: Secret,
    pub members: Vec<Server>,
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    pub running: Running,
}

/// Three free ports, which stay reserved until the server starts.
struct Ports {
    https: u16,
    server: u16,
    serf: u16,
}

impl Servers {
    /// Starts `count` servers, and waits for nothing.
    pub async fn start(mirror: &Path, count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(mirror, "consul", "1.8.7", folder.path()).await;
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an authority");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        certify(&authority, folder.path(), "consul");
        let ports = free_ports(count);
        let join: Vec<String> = ports
            .iter()
            .map(|ports| format!("127.0.0.1:{}", ports.serf))
            .collect();
        let mut members = Vec::new();
        for (index, ports) in ports.iter().enumerate() {
            let name = format!("consul-{}", index + 1);
            let config = config(folder.path(), &name, ports, &join);
            let file = folder.path().join(format!("{name}.json"));
            fs::write(&file, config.to_string()).expect("a file");
            let running = Program::new(folder.path().join("consul"))
                .args(["agent", "-config-file"])
                .arg(&file)
                .start()
                .expect("Consul starts");
            members.push(Server {
                name,
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, ports.https)),
                running,
            });
        }
        Self {
            management: Secret::new(MANAGEMENT),
            members,
            folder,
            authority,
        }
    }

    /// Puts a binary of Vault into the folder: that of the user's releases, or the stub.
    pub async fn install_vault(&self, mirror: &Path) {
        match Releases::given() {
            Some(given) => given.unpack_vault(self.folder()).await,
            None => unpack(mirror, "vault", "1.15.6+fixture", self.folder()).await,
        }
    }

    /// Makes `NAME.crt` and `NAME.key` in the folder.
    pub fn certify(&self, name: &str) {
        certify(&self.authority, self.folder(), name);
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the TLS material with a client certificate, or without.
    pub fn tls(&self, certificate: bool) -> TlsMaterial {
        let read = |file| fs::read_to_string(self.folder.path().join(file)).expect("a file");
        TlsMaterial {
            ca_pem: self.authority.pem(),
            client: certificate.then(|| Leaf {
                certificate_pem: read("consul.crt"),
                key_pem: Secret::new(read("consul.key")),
            }),
        }
    }

    pub fn endpoint(&self, index: usize) -> Endpoint {
        Endpoint {
            address: self.members[index].address,
            server_name: "server.dc1.consul".to_owned(),
            network: Network::host(),
        }
    }

    pub fn client(&self, index: usize) -> Client {
        Client::new(&self.endpoint(index), &self.tls(true)).expect("a client")
    }

    /// Waits until the ACL system answers. Returns the transient errors before that.
    pub async fn wait_for_acls(&self) -> Vec<ApiError> {
        let client = self.client(0);
        let errors = std::sync::Mutex::new(Vec::new());
        until("the ACL system", || async {
            match client.token_self(&self.management).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_transient() => {
                    let text = error.to_string();
                    errors.lock().expect("errors").push(error);
                    Err(text)
                }
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        errors.into_inner().expect("errors")
    }

    /// Sends a request that the product has no method for.
    pub async fn raw(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let tls = self.tls(true);
        let leaf = tls.client.expect("a certificate");
        let identity = reqwest::Identity::from_pkcs8_pem(
            leaf.certificate_pem.as_bytes(),
            leaf.key_pem.expose().as_bytes(),
        );
        let authority = reqwest::Certificate::from_pem(tls.ca_pem.as_bytes());
        let client = reqwest::Client::builder()
            .tls_certs_only([authority.expect("a certificate")])
            .identity(identity.expect("an identity"))
            .build()
            .expect("a client");
        let url = format!(
            "https://localhost:{}/v1/{path}",
            self.members[0].address.port()
        );
        let answer = client
            .request(method, url)
            .header("x-consul-token", MANAGEMENT)
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let body = answer.bytes().await.expect("a body");
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

/// Polls until `probe` succeeds, a minute at most.
pub async fn until<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    probe: impl Fn() -> F,
) -> T {
    Wait::new(what, Duration::from_secs(60))
        .until(&Events::silent(), &Interrupt::default(), || async {
            match probe().await {
                Ok(value) => Poll::<_, String>::Ready(value),
                Err(observation) => Poll::NotYet(observation),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

fn config(folder: &Path, name: &str, ports: &Ports, join: &[String]) -> Value {
    let at = |file: &str| folder.join(file).display().to_string();
    json!({
        "node_name": name, "datacenter": "dc1", "server": true, "bootstrap_expect": join.len(),
        "bind_addr": "127.0.0.1", "data_dir": at(&format!("{name}-data")),
        "ports": {"http": -1, "https": ports.https, "dns": -1, "grpc": -1, "server": ports.server,
            "serf_lan": ports.serf, "serf_wan": -1},
        "ca_file": at("ca.pem"), "cert_file": at("consul.crt"), "key_file": at("consul.key"),
        "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
        "retry_join": join, "retry_interval": "1s", "performance": {"raft_multiplier": 1},
        "acl": {"enabled": true, "default_policy": "deny", "tokens": {"master": MANAGEMENT, "agent": MANAGEMENT}},
    })
}

fn free_ports(count: usize) -> Vec<Ports> {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a port");
    let listeners: Vec<TcpListener> = (0..count * 3).map(listen).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let ports: Vec<u16> = listeners.iter().map(port).collect();
    ports
        .chunks(3)
        .map(|ports| Ports {
            https: ports[0],
            server: ports[1],
            serf: ports[2],
        })
        .collect()
}
