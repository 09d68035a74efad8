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

/// The name in the certificate of each agent.
const SERVER_NAME: &str = "server.dc1.consul";

/// Consul agents that form a cluster.
pub struct Servers {
    pub management: Secret,
    pub members: Vec<Server>,
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The network of agents with an address each.
    network: Option<LoopbackNetwork>,
}

pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    pub running: Running,
    /// Whether it was not killed, and did not leave.
    pub is_running: bool,
    place: Place,
}

/// An address with the ports of an agent.
#[derive(Clone, Copy)]
struct Place {
    host: Ipv4Addr,
    https: u16,
    server: u16,
    serf: u16,
}

/// The part of an agent in the cluster.
#[derive(Clone, Copy)]
enum Part {
    /// One of this number of servers that form the cluster.
    Founder(usize),
    /// A server that joins later.
    Server,
    /// An agent that is no server.
    Client,
}

impl Servers {
    /// Starts `count` servers on 127.0.0.1, and waits for nothing.
    pub async fn start(mirror: &Path, count: usize) -> Self {
        let mut servers = Self::prepare(mirror).await;
        let names: Vec<String> = (1..=count).map(|n| format!("consul-{n}")).collect();
        servers.form(&names, &free_places(count));
        servers
    }

    /// Starts servers with these names, each on its own address, and waits for nothing.
    /// Others can join them, and those that end can start again.
    pub async fn start_apart(mirror: &Path, names: &[String]) -> Self {
        let mut servers = Self::prepare(mirror).await;
        let network = LoopbackNetwork::free();
        servers.network = Some(network);
        let places: Vec<Place> = (0..names.len()).map(|at| network.place(at)).collect();
        servers.form(names, &places);
        servers
    }

    async fn prepare(mirror: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(mirror, "consul", "1.8.7", folder.path()).await;
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an authority");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        certify(&authority, folder.path(), "consul");
        Self {
            management: Secret::new(MANAGEMENT),
            members: Vec::new(),
            folder,
            authority,
            network: None,
        }
    }

    fn form(&mut self, names: &[String], places: &[Place]) {
        let join: Vec<String> = places.iter().map(Place::join).collect();
        for (name, place) in names.iter().zip(places) {
            self.add(name, *place, Part::Founder(names.len()), &join);
        }
    }

    fn add(&mut self, name: &str, place: Place, part: Part, join: &[String]) {
        self.configure((name, part), place, join);
        self.members.push(Server {
            name: name.to_owned(),
            address: SocketAddr::from((place.host, place.https)),
            running: self.run(name),
            is_running: true,
            place,
        });
    }

    fn configure(&self, agent: (&str, Part), place: Place, join: &[String]) {
        let config = config(self.folder.path(), agent, &place, join);
        let file = self.folder.path().join(format!("{}.json", agent.0));
        fs::write(&file, config.to_string()).expect("a file");
    }

    fn run(&self, name: &str) -> Running {
        Program::new(self.folder.path().join("consul"))
            .args(["agent", "-config-file"])
            .arg(self.folder.path().join(format!("{name}.json")))
            .start()
            .expect("Consul starts")
    }

    /// Starts another server, which joins those that run now. Returns its index.
    pub fn join(&mut self, name: &str) -> usize {
        self.join_as(name, Part::Server)
    }

    /// Starts an agent that is no server, and returns its index.
    pub fn join_client(&mut self, name: &str) -> usize {
        self.join_as(name, Part::Client)
    }

    fn join_as(&mut self, name: &str, part: Part) -> usize {
        let network = self.network.expect("each agent has its own address");
        let place = network.place(self.members.len());
        self.add(name, place, part, &self.running());
        self.members.len() - 1
    }

    /// Returns the addresses of the agents that run.
    fn running(&self) -> Vec<String> {
        let members = self.members.iter().filter(|member| member.is_running);
        members.map(|member| member.place.join()).collect()
    }

    pub async fn kill(&mut self, index: usize) {
        self.members[index].running.kill().await;
        self.members[index].is_running = false;
    }

    /// Starts a server that ended again, with its data, name and address.
    pub fn restart(&mut self, index: usize) {
        let member = &self.members[index];
        let agent = (member.name.as_str(), Part::Server);
        self.configure(agent, member.place, &self.running());
        let running = self.run(&member.name);
        self.members[index].running = running;
        self.members[index].is_running = true;
    }

    /// Deletes the data of a server that ended.
    pub fn wipe(&self, index: usize) {
        let data = format!("{}-data", self.members[index].name);
        fs::remove_dir_all(self.folder.path().join(data)).expect("its data");
    }

    /// Returns the index of a member.
    pub fn index(&self, name: &str) -> usize {
        let mut members = self.members.iter();
        let found = members.position(|member| member.name == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))
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
            server_name: SERVER_NAME.to_owned(),
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

    /// Sends a request that the product has no method for to the first server.
    pub async fn raw(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let answer = self.requests(0).send(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Returns a client for requests that the product has no method for.
    pub fn requests(&self, index: usize) -> Requests {
        let tls = self.tls(true);
        let leaf = tls.client.expect("a certificate");
        let identity = reqwest::Identity::from_pkcs8_pem(
            leaf.certificate_pem.as_bytes(),
            leaf.key_pem.expose().as_bytes(),
        );
        let authority = reqwest::Certificate::from_pem(tls.ca_pem.as_bytes());
        let address = self.members[index].address;
        let client = reqwest::Client::builder()
            .tls_certs_only([authority.expect("a certificate")])
            .identity(identity.expect("an identity"))
            .resolve(SERVER_NAME, address)
            .build()
            .expect("a client");
        Requests {
            client,
            base: format!("https://{SERVER_NAME}:{}/v1", address.port()),
        }
    }
}

/// A client of one agent that keeps its connections, with the token that may do everything.
#[derive(Clone)]
pub struct Requests {
    client: reqwest::Client,
    base: String,
}

impl Requests {
    pub async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Value,
    ) -> Result<Value, String> {
        let (_, body) = self.exchange(method, path, body).await?;
        Ok(body)
    }

    /// Waits until a key changes after `index`. Returns the new index and the key.
    pub async fn changed(&self, key: &str, index: u64) -> Result<(u64, Value), String> {
        let path = format!("kv/{key}?wait=60s&index={index}");
        let get = reqwest::Method::GET;
        self.exchange(get, &path, Value::Null).await
    }

    async fn exchange(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Value,
    ) -> Result<(u64, Value), String> {
        let request = self
            .client
            .request(method, format!("{}/{path}", self.base))
            .header("x-consul-token", MANAGEMENT)
            .body(body.to_string());
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let index = answer.headers().get("x-consul-index");
        let index = index.and_then(|text| text.to_str().ok()?.parse().ok());
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status} {}", String::from_utf8_lossy(&body)));
        }
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok((index.unwrap_or_default(), body))
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

fn config(folder: &Path, agent: (&str, Part), place: &Place, join: &[String]) -> Value {
    let (name, part) = agent;
    let at = |file: &str| folder.join(file).display().to_string();
    let mut config = json!({
        "node_name": name, "datacenter": "dc1", "server": !matches!(part, Part::Client),
        "bind_addr": place.host, "client_addr": place.host, "data_dir": at(&format!("{name}-data")),
        "ports": {"http": -1, "https": place.https, "dns": -1, "grpc": -1, "server": place.server,
            "serf_lan": place.serf, "serf_wan": -1},
        "ca_file": at("ca.pem"), "cert_file": at("consul.crt"), "key_file": at("consul.key"),
        "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
        "retry_join": join, "retry_interval": "1s", "performance": {"raft_multiplier": 1},
        "acl": {"enabled": true, "default_policy": "deny", "tokens": {"master": MANAGEMENT, "agent": MANAGEMENT}},
    });
    if let Part::Founder(count) = part {
        config["bootstrap_expect"] = count.into();
    }
    config
}

impl Place {
    fn join(&self) -> String {
        format!("{}:{}", self.host, self.serf)
    }
}

/// Returns places on 127.0.0.1 with free ports.
fn free_places(count: usize) -> Vec<Place> {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a port");
    // They stay reserved until all are known.
    let listeners: Vec<TcpListener> = (0..count * 3).map(listen).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let ports: Vec<u16> = listeners.iter().map(port).collect();
    ports
        .chunks(3)
        .map(|ports| Place {
            host: Ipv4Addr::LOCALHOST,
            https: ports[0],
            server: ports[1],
            serf: ports[2],
        })
        .collect()
}

/// A network 127.x.y.0/24 that no other test uses. Its agents have Consul's own ports, which no
/// outgoing connection takes while an agent is down.
#[derive(Clone, Copy)]
struct LoopbackNetwork([u8; 2]);

impl LoopbackNetwork {
    /// Tests run in processes of their own, so the first choice is nearly always free.
    fn free() -> Self {
        let first = std::process::id();
        let is_free = |network: &Self| {
            let place = network.place(0);
            TcpListener::bind((place.host, place.serf)).is_ok()
        };
        let mut networks = (first..).map(|number| {
            let [_, high, middle, low] = number.wrapping_mul(0x9E37_79B1).to_be_bytes();
            Self([64 + (high ^ low) % 128, middle])
        });
        networks.find(is_free).expect("a free network")
    }

    fn place(self, index: usize) -> Place {
        let Self([second, third]) = self;
        let last = u8::try_from(index + 1).expect("a few agents");
        Place {
            host: Ipv4Addr::new(127, second, third, last),
            https: 8501,
            server: 8300,
            serf: 8301,
        }
    }
}
