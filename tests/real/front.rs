//! HAProxy with the configuration that the library writes, in front of nodes that answer as Vault
//! does.

mod node;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testing::network::{babbling, silent};
use vault_bake::cluster::front::{
    self, FrontConfig, FrontError, HAPROXY, Health, Listener, Mode, RunAs, Runtime, Server,
    ServerStatus,
};
use vault_bake::event::Events;
use vault_bake::process::Program;
use vault_bake::wait::{Interrupt, Poll, Wait};

use node::{Authority, Client, Node};

/// The interval is the time-out too: on a busy computer, a shorter one ends probes of healthy nodes.
const INTERVAL: Duration = Duration::from_secs(2);

/// How much later than by its own clock a change may be seen on a busy computer.
const SLACK: Duration = Duration::from_millis(1500);

/// Returns whether HAProxy is installed. Prints the reason of a skip if not.
#[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
fn is_installed() -> bool {
    let found = Path::new(HAPROXY).exists();
    if !found {
        eprintln!("SKIPPED: {HAPROXY} is missing (sh scripts/setup)");
    }
    found
}

/// A running HAProxy, which ends with the test.
struct Running {
    folder: tempfile::TempDir,
    authority: Authority,
    config: FrontConfig,
    runtime: Runtime,
}

impl Running {
    /// Starts HAProxy on a socket of this test, as `change` wants it.
    async fn start(
        authority: Authority,
        servers: Vec<Server>,
        change: impl FnOnce(&mut FrontConfig),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Paths with all characters that either syntax reads in its own way.
        let state = folder.path().join("it's; \\x");
        fs::create_dir(&state).expect("a folder");
        let ca_file = state.join("$HOME \"ca\".pem");
        fs::write(&ca_file, authority.pem()).expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let inherited = Listener::inherit(&listener).expect("a listener");
        let mut config = FrontConfig::new(inherited, servers, ca_file, state.join("socket"));
        config.probe_interval = INTERVAL;
        config.events_file = Some(state.join("events"));
        change(&mut config);
        let file = state.join("haproxy.cfg");
        fs::write(&file, config.haproxy().expect("a configuration")).expect("a file");
        let [program, arguments @ ..] = front::start_command(&file, &state.join("pid"));
        let starting = Program::new(program).args(arguments).leaving_daemon();
        let started = starting.run(&Interrupt::default()).await;
        started.unwrap_or_else(|error| panic!("{error}"));
        let runtime = Runtime::new(&config.stats_socket);
        let running = Self {
            folder,
            authority,
            config,
            runtime,
        };
        let probed = |servers: &[ServerStatus]| {
            servers
                .iter()
                .all(|server| server.health != Health::Unknown)
        };
        running.wait_until("the first probes", probed).await;
        running
    }

    fn client(&self) -> Client {
        let addresses = front::Front::HaProxy(self.config.clone()).addresses();
        Client::connect(addresses[0], &self.authority.pem()).expect("a connection")
    }

    /// Returns how many of `count` new connections each node got.
    fn spread(&self, count: usize) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for _ in 0..count {
            *spread
                .entry(self.client().ask().expect("an answer"))
                .or_default() += 1;
        }
        spread
    }

    async fn status(&self, name: &str) -> ServerStatus {
        let servers = self.runtime.servers().await.expect("the servers");
        let server = servers.into_iter().find(|server| server.name == name);
        server.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Waits until the servers are as expected, and returns how long it took.
    async fn wait_until(&self, what: &str, expected: impl Fn(&[ServerStatus]) -> bool) -> Duration {
        let began = Instant::now();
        let pause = Duration::from_millis(20);
        let wait = Wait::new(what, Duration::from_secs(30)).pausing(pause, pause);
        let seen = wait
            .until(&Events::silent(), &Interrupt::default(), || async {
                match self.runtime.servers().await {
                    Ok(servers) if expected(&servers) => Poll::<_, String>::Ready(()),
                    Ok(servers) => Poll::NotYet(format!("{servers:?}")),
                    Err(error) => Poll::NotYet(error.to_string()),
                }
            })
            .await;
        seen.unwrap_or_else(|error| panic!("{error}"));
        began.elapsed()
    }

    async fn wait_for(&self, name: &str, health: Health) -> Duration {
        let is = |server: &ServerStatus| server.name == name && server.health == health;
        self.wait_until(&format!("{name} is {health:?}"), |servers| {
            servers.iter().any(is)
        })
        .await
    }

    fn pid(&self) -> Option<Pid> {
        let file = self.config.stats_socket.with_file_name("pid");
        let pid = fs::read_to_string(file).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A change of the configuration that HAProxy accepts.
type Change<'a> = &'a dyn Fn(&mut FrontConfig);

fn server(name: &str, address: SocketAddr) -> Server {
    Server {
        name: name.to_owned(),
        address,
    }
}

#[tokio::test]
async fn haproxy_accepts_every_form_of_the_configuration() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(path("it's $HOME.pem"), Authority::new().pem()).expect("a file");
    let address = SocketAddr::from(([10, 77, 0, 31], 8200));
    let servers = (1..=9).map(|number| server(&format!("dev-vault-1-{number}"), address));
    let own = TcpListener::bind("127.0.0.1:0").expect("a port");
    let inherited = Listener::inherit(&own).expect("a listener");
    let listener = Listener::Address(SocketAddr::from(([127, 0, 0, 1], 8200)));
    let ca_file = path("it's $HOME.pem");
    let plain = FrontConfig::new(listener, servers.collect(), ca_file, path("s"));
    let check = async |config: &FrontConfig| {
        let file = path("haproxy.cfg");
        fs::write(&file, config.haproxy().expect("a configuration")).expect("a file");
        front::check(&file).run(&Interrupt::default()).await
    };
    let forms: [(&str, Change); 7] = [
        ("as it is", &|_| {}),
        ("no node", &|config| config.servers.clear()),
        ("IPv6", &|config| {
            config.listener = Listener::Address("[::1]:8200".parse().expect("an address"));
            config.servers[0].address = "[fd00::1]:8200".parse().expect("an address");
        }),
        ("inherited", &|config| config.listener = inherited),
        ("shortest and longest times", &|config| {
            config.probe_interval = Duration::from_millis(500);
            config.idle_timeout = Duration::from_secs(24 * 24 * 3600);
        }),
        ("longest socket path", &|config| {
            let missing = 97 - path("").as_os_str().len();
            config.stats_socket = path(&"x".repeat(missing));
        }),
        ("another user", &|config| {
            config.run_as = Some(RunAs {
                user: "nobody".to_owned(),
                group: "nogroup".to_owned(),
            });
        }),
    ];
    for (form, change) in forms {
        let mut config = plain.clone();
        change(&mut config);
        let checked = check(&config).await;
        assert!(checked.is_ok(), "{form}: {checked:?}");
    }
    let mut wrong = plain;
    wrong.ca_file = path("none.pem");
    let error = check(&wrong).await.expect_err("a missing authority");
    assert!(error.to_string().contains("none.pem"), "{error}");
}

/// A node is as Vault is in each state; others are not of the cluster, or are no Vault.
#[tokio::test(flavor = "multi_thread")]
async fn active_nodes_and_standbys_get_connections_and_no_others() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let states = [
        ("active", 200),
        ("standby", 429),
        ("performance", 473),
        ("recovery", 472),
        ("cut-off", 474),
        ("empty", 501),
        ("sealed", 503),
        ("removed", 530),
    ];
    let mut nodes: Vec<Node> = states
        .iter()
        .map(|(name, status)| Node::start(name, *status, &authority))
        .collect();
    nodes.push(Node::start("stranger", 200, &Authority::new()));
    nodes.push(Node::named("misnamed", "consul.service.consul", &authority));
    let mut servers: Vec<Server> = nodes
        .iter()
        .map(|node| server(&node.name, node.address))
        .collect();
    servers.push(server("silent", silent()));
    servers.push(server("babbling", babbling()));
    let running = Running::start(authority, servers, |_| {}).await;

    let servers = running.runtime.servers().await.expect("the servers");
    let up = servers.iter().filter(|server| server.takes_connections());
    let up: Vec<&str> = up.map(|server| server.name.as_str()).collect();
    assert_eq!(up, ["active", "standby", "performance"], "{servers:#?}");
    for (name, words) in [
        ("active", "L7OK 200"),
        ("sealed", "L7STS 503"),
        ("stranger", "L6RSP"),
        ("misnamed", "L6RSP"),
    ] {
        // While the next probe runs, HAProxy shows no code.
        let is = |server: &ServerStatus| server.name == name && server.probe.starts_with(words);
        let seen = |servers: &[ServerStatus]| servers.iter().any(is);
        running.wait_until(&format!("{name}: {words}"), seen).await;
    }
    let spread = running.spread(9);
    let names: Vec<&str> = spread.keys().map(String::as_str).collect();
    assert_eq!(names, ["active", "performance", "standby"]);

    // The certificate that clients see is that of the node which answers.
    for _ in 0..3 {
        let mut client = running.client();
        let name = client.ask().expect("an answer");
        let node = nodes.iter().find(|node| node.name == name).expect("a node");
        assert_eq!(client.certificate(), node.certificate);
    }
    for node in &nodes[3..] {
        assert_eq!(node.requests(), 0, "{}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_is_down_within_an_interval_and_its_connections_continue() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let mut nodes = ["a", "b"].map(|name| Node::start(name, 429, &authority));
    let servers = nodes.iter().map(|node| server(&node.name, node.address));
    let running = Running::start(authority, servers.collect(), |_| {}).await;
    let mut clients = [running.client(), running.client()];
    let mut names = clients
        .each_mut()
        .map(|client| client.ask().expect("an answer"));
    names.sort();
    assert_eq!(names, ["a", "b"]);

    nodes[0].set_status(503);
    let elapsed = running.wait_for("a", Health::Down).await;
    assert!(elapsed <= INTERVAL + SLACK, "down after {elapsed:?}");
    assert_eq!(running.spread(4), BTreeMap::from([("b".to_owned(), 4)]));
    for client in &mut clients {
        client.ask().expect("an answer on an open connection");
    }
    nodes[0].set_status(200);
    let elapsed = running.wait_for("a", Health::Up).await;
    assert!(elapsed <= INTERVAL + SLACK, "up after {elapsed:?}");

    nodes[1].kill();
    let elapsed = running.wait_for("b", Health::Down).await;
    assert!(elapsed <= INTERVAL + SLACK, "down after {elapsed:?}");
    let status = running.status("b").await;
    assert!(status.probe.starts_with("L4CON"), "{status:?}");
    assert_eq!(running.spread(4), BTreeMap::from([("a".to_owned(), 4)]));
    nodes[1].start_again();
    running.wait_for("b", Health::Up).await;

    for node in &mut nodes {
        node.kill();
    }
    running.wait_for("a", Health::Down).await;
    running.wait_for("b", Health::Down).await;
    let addresses = front::Front::HaProxy(running.config.clone()).addresses();
    let refused = Client::connect(addresses[0], &running.authority.pem());
    assert!(refused.is_err(), "a connection to no node");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_drained_removed_and_added_while_others_serve() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let nodes = ["old", "other", "new"].map(|name| Node::start(name, 429, &authority));
    let all: Vec<Server> = nodes
        .iter()
        .map(|node| server(&node.name, node.address))
        .collect();
    let running = Running::start(authority, all[..2].to_vec(), |_| {}).await;
    let runtime = &running.runtime;
    let mut clients = [running.client(), running.client()];
    let names = clients
        .each_mut()
        .map(|client| client.ask().expect("an answer"));
    let old = names
        .iter()
        .position(|name| name == "old")
        .expect("a client of old");

    // A new node gets no connections before it is ready, sealed or not. A second call changes
    // nothing.
    nodes[2].set_status(503);
    runtime
        .add(&running.config, &all[2])
        .await
        .expect("it is added");
    running.wait_for("new", Health::Down).await;
    nodes[2].set_status(429);
    running.wait_for("new", Health::Up).await;
    assert_eq!(running.status("new").await.mode, Mode::Drain);
    assert_eq!(running.spread(6).get("new"), None);
    runtime.ready("new").await.expect("it is ready");
    runtime
        .add(&running.config, &all[2])
        .await
        .expect("it is there");
    assert_eq!(running.status("new").await.mode, Mode::Ready);
    assert_eq!(running.spread(6).len(), 3);
    let elsewhere = server("new", all[1].address);
    let error = runtime
        .add(&running.config, &elsewhere)
        .await
        .expect_err("another address");
    assert!(matches!(error, FrontError::Refused { .. }), "{error}");

    // Draining keeps open connections, and outlives a failed probe.
    runtime.drain("old").await.expect("it is drained");
    assert_eq!(running.spread(6).get("old"), None);
    assert_eq!(clients[old].ask().expect("an open connection"), "old");
    let status = running.status("old").await;
    assert_eq!((status.mode, status.connections), (Mode::Drain, 1));
    nodes[0].set_status(503);
    running.wait_for("old", Health::Down).await;
    nodes[0].set_status(200);
    running.wait_for("old", Health::Up).await;
    assert_eq!(running.status("old").await.mode, Mode::Drain);
    assert_eq!(running.spread(4).get("old"), None);

    // A node with connections is not removed unless they are closed.
    let error = runtime
        .remove("old")
        .await
        .expect_err("a connection is open");
    assert!(
        matches!(error, FrontError::Connected { connections: 1, .. }),
        "{error}"
    );
    assert_eq!(clients[old].ask().expect("an open connection"), "old");
    runtime.disconnect("old").await.expect("it is disconnected");
    let closed = |servers: &[ServerStatus]| servers.iter().all(|server| server.connections < 2);
    running.wait_until("the connection is closed", closed).await;
    assert!(clients[old].ask().is_err());
    runtime.remove("old").await.expect("it is removed");
    let servers = runtime.servers().await.expect("the servers");
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["other", "new"]);
    assert_eq!(running.spread(4).len(), 2);
}

/// HAProxy cannot cut a connection that its client has closed, so such connections have a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_network_is_removed_soon_after_its_clients_left() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let nodes = ["cut", "other"].map(|name| Node::start(name, 429, &authority));
    let all = nodes.each_ref();
    let all = all.map(|node| server(&node.name, node.address)).to_vec();
    let running = Running::start(authority, all, |_| {}).await;
    let mut clients = [running.client(), running.client()];
    let names = clients
        .each_mut()
        .map(|client| client.ask().expect("an answer"));
    assert!(names.contains(&"cut".to_owned()), "{names:?}");
    nodes[0].cut_off();
    drop(clients);
    let runtime = &running.runtime;
    let connected = |error: &FrontError| matches!(error, FrontError::Connected { .. });
    let error = runtime.remove("cut").await.expect_err("it is connected");
    assert!(connected(&error), "{error}");
    runtime.disconnect("cut").await.expect("an answer");
    let began = Instant::now();
    while let Err(error) = runtime.remove("cut").await {
        assert!(connected(&error), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
        let _ = vault_bake::wait::pause(Duration::from_millis(500), &Interrupt::default()).await;
    }
    assert_eq!(running.spread(4).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_nodes_and_not_of_clients() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let mut node = Node::start("only", 200, &authority);
    let servers = vec![server("only", node.address)];
    let running = Running::start(authority, servers, |config| config.run_as = other_user()).await;
    let mut client = running.client();
    assert_eq!(client.ask().expect("an answer"), "only");
    let port = format!(":{}", client.port());
    drop(client);
    node.kill();
    running.wait_for("only", Health::Down).await;
    let events = running
        .runtime
        .events()
        .await
        .expect("the events")
        .join("\n");
    assert!(events.contains("Server vault/only is DOWN"), "{events}");
    assert!(!events.contains(&port), "{events}");

    let pid = running.runtime.pid().await.expect("the process id");
    let own = running.pid().expect("the file with the process id");
    assert_eq!(Some(own), Pid::from_raw(pid.cast_signed()));
    if running.config.run_as.is_some() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let users = status.lines().find(|line| line.starts_with("Uid:"));
        assert_eq!(users, Some("Uid:\t65534\t65534\t65534\t65534"));
    }
    kill_process(own, Signal::KILL).expect("it takes signals");
    let file = running.config.events_file.as_ref().expect("a file");
    let kept = fs::read(file).expect("the events");
    assert!(String::from_utf8_lossy(&kept).contains("Server vault/only is DOWN"));
    assert!(running.folder.path().exists());
}

/// Root's HAProxy becomes another user.
fn other_user() -> Option<RunAs> {
    rustix::process::geteuid().is_root().then(|| RunAs {
        user: "nobody".to_owned(),
        group: "nogroup".to_owned(),
    })
}
