//! Nodes of a cluster on this computer, by the library's platform.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "these tests start programs and read the clock, and a skipped test says why"
)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal};
use semver::Version;
use tokio::process::Command;
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::identity::{Authority, ConsulNode, NodeIdentity, Request, VaultNode};
use vault_bake::nodes::machines::{self, Machines};
use vault_bake::nodes::{IdentityArchive, Node, Platform, Site, Stop};
use vault_bake::product::{Endpoint, TlsMaterial, vault};
use vault_bake::secret::Secret;
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::qemu::found;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);
const TOKEN: &str = "5e3a0c5e-7c5c-4b1e-9d7a-1f3f6f1d2b90";

/// Prints the name of the node and its addresses.
const ADDRESSES: &str = "hostname\nip -4 -o addr show scope global | awk '{print $4}'\n";

/// Prints what the login of a boot test would leave in a node, and units that failed.
const LEFT: &str = "
ls -d /run/vault-bake /etc/ssh/sshd_config.d/00-vault-bake.conf 2>/dev/null
systemctl list-units --failed --plain --no-legend
";

/// Prints the states of the other members, once there are two.
const MEMBERS: &str = "
export CONSUL_HTTP_ADDR=https://127.0.0.1:8501 CONSUL_CACERT=/run/consul-tls/ca.pem CONSUL_CLIENT_CERT=/run/consul-tls/tls.crt
export CONSUL_CLIENT_KEY=/run/consul-tls/tls.key CONSUL_HTTP_TOKEN=TOKEN
left=120
until [ $(consul members 2>/dev/null | grep -c alive) -eq 2 ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
consul members | awk 'NR > 1 {print $1, $2, $3, $4}' | sort
";

/// Prints whether the port of the other node answers.
const REACHES: &str = "timeout 20 bash -c 'exec 3<>/dev/tcp/10.77.0.11/8300' && echo reached\n";

/// The nodes of one test.
struct Lab {
    _folder: tempfile::TempDir,
    platform: Platform,
    site: Site,
    authority: Authority,
    disk: PathBuf,
    events: Events,
    interrupt: Interrupt,
    began: Instant,
}

impl Lab {
    async fn open(disk: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let site = Site {
            folder: folder.path().join("cluster"),
            id: format!("test-{}", std::process::id()),
            gateway: Ipv4Addr::new(10, 77, 0, 1),
            prefix: 24,
        };
        let began = Instant::now();
        let events = Events::new(move |event: &Event| {
            let line = serde_json::to_string(event).expect("an event is JSON");
            eprintln!("[{:6.1}] {line}", began.elapsed().as_secs_f32());
        });
        let interrupt = Interrupt::default();
        let machines = Machines::open(&site, &events, &interrupt).await;
        let year = SignedDuration::from_hours(24);
        let authority = Authority::generate("test", Timestamp::now(), year);
        Self {
            _folder: folder,
            platform: Platform::Machines(machines.expect("a network")),
            site,
            authority: authority.expect("an authority"),
            disk: disk.to_owned(),
            events,
            interrupt,
            began,
        }
    }

    #[expect(clippy::print_stderr, reason = "a test prints the times it takes")]
    fn took(&self, what: &str, since: Instant) {
        let now = self.began.elapsed().as_secs_f32();
        eprintln!("[{now:6.1}] {what}: {:.1} s", since.elapsed().as_secs_f32());
    }

    /// Makes a new identity of a node.
    async fn identity(&self, name: &str, address: Ipv4Addr) -> IdentityArchive {
        let now = Timestamp::now();
        let (address, is_server) = (IpAddr::V4(address), address == SERVER);
        let token = Secret::new(TOKEN);
        let consul = ConsulNode {
            version: Version::new(1, 8, 7),
            server: is_server,
            bootstrap_expect: is_server.then_some(1),
            retry_join: (!is_server)
                .then(|| SERVER.to_string())
                .into_iter()
                .collect(),
            bind_addr: Some(address),
            advertise_addr: None,
            gossip_key: Secret::new(openssl::base64::encode_block(&[7; 32])),
            agent_token: token.clone(),
            initial_management: is_server.then(|| token.clone()),
        };
        let issue = async |request: Request| {
            let issuing = self.authority.issue(&request, now, &self.interrupt);
            issuing.await.expect("a certificate")
        };
        let leaf = issue(Request::consul(
            is_server.then_some("dc1"),
            Some(address),
            20,
        ))
        .await;
        let vault_leaf = issue(Request::vault(Some(address), 20)).await;
        let identity = NodeIdentity::new(name, "dc1", &self.authority, now)
            .and_then(|identity| identity.consul(leaf, &consul))
            .and_then(|identity| identity.vault(vault_leaf, &VaultNode::new(&token, address)));
        let archive = identity.expect("an identity").to_tar();
        IdentityArchive::new(archive.expose().as_bytes().to_vec())
    }

    async fn start(&self, name: &str, address: Ipv4Addr, firmware: Firmware) {
        let node = Node {
            name: name.to_owned(),
            address,
            disk: self.disk.clone(),
            disk_digest: Digest::hash_bytes(b"not used"),
            firmware,
            identity: self.identity(name, address).await,
        };
        let starting = self.platform.start(&node, &self.events, &self.interrupt);
        starting.await.expect("it starts");
    }

    async fn says(&self, name: &str, script: &str) -> String {
        let running = self.platform.run_script(name, script, &self.interrupt);
        running.await.expect("it runs").trim().to_owned()
    }

    async fn stop(&self, name: &str, stop: Stop) {
        let began = Instant::now();
        let stopping = self
            .platform
            .stop(name, stop, &self.events, &self.interrupt);
        stopping.await.expect("it stops");
        self.took(&format!("{stop:?} of {name}"), began);
        assert!(!self.platform.is_running(name));
    }

    async fn route(&self, platform: &Platform, address: Ipv4Addr, port: u16) -> SocketAddr {
        let to = SocketAddr::from((address, port));
        let routing = platform.route(to, &self.events, &self.interrupt);
        routing.await.expect("a route")
    }

    /// Waits for the answer of a Vault that is not initialised, which it has from Consul.
    async fn wait_for_vault(&self, address: Ipv4Addr) {
        let endpoint = Endpoint {
            address: self.route(&self.platform, address, 8200).await,
            server_name: "vault.service.consul".to_owned(),
            network: self.platform.network().clone(),
        };
        let tls = TlsMaterial {
            ca_pem: self.authority.certificate_pem().to_owned(),
            client: None,
        };
        let client = vault::Client::new(&endpoint, &tls).expect("a client");
        let wait = Wait::new("Vault", Duration::from_secs(400));
        let waiting = wait.until(&self.events, &self.interrupt, || async {
            match client.health().await {
                Ok(health) if health.status_code == 501 => Poll::Ready(()),
                Ok(health) => Poll::NotYet(format!("it answers {}", health.status_code)),
                Err(error) => Poll::<_, std::io::Error>::NotYet(error.to_string()),
            }
        });
        if let Err(error) = waiting.await {
            panic!("{error}: {:#?}", self.platform.console("test-vault-1-1"));
        }
    }

    async fn kill_switch(&self) {
        let marker = format!("guest=vault-bake-network-{}", self.site.id);
        let mut processes = self.processes().into_iter();
        let (id, _) = processes
            .find(|(_, line)| line.contains(&marker))
            .expect("a switch");
        let killed = Command::new("kill").args(["-KILL", &id]).status().await;
        assert!(killed.expect("kill").success());
    }

    async fn open_again(&self) -> Platform {
        let found = Machines::find(&self.site, &self.events, &self.interrupt).await;
        Platform::Machines(found.expect("a network").expect("it runs"))
    }

    /// Returns the ids and command lines of the processes with the id of the cluster.
    fn processes(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir("/proc").expect("processes").flatten();
        let process = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let id = entry.file_name().to_string_lossy().into_owned();
            line.contains(&self.site.id).then_some((id, line))
        };
        entries.filter_map(process).collect()
    }
}

impl Drop for Lab {
    /// Ends what a failed test left running.
    fn drop(&mut self) {
        for (id, _) in self.processes() {
            let id = id.parse().ok().and_then(Pid::from_raw);
            // Fails if the process has just ended.
            let _ = id.map(|id| rustix::process::kill_process(id, Signal::KILL));
        }
    }
}

/// Starts a node with BIOS, and one with UEFI.
pub async fn check_machines(disk: &Path) {
    let lab = Lab::open(disk).await;
    let (first, second) = ("test-consul-1-1", "test-vault-1-1");
    let began = Instant::now();
    lab.start(first, SERVER, Firmware::Bios).await;
    lab.start(second, OTHER, Firmware::Uefi).await;
    lab.took("two starts", began);
    assert_eq!(
        lab.says(first, ADDRESSES).await,
        format!("{first}\n{SERVER}/24")
    );
    lab.took("a script in the first node", began);
    assert_eq!(
        lab.says(second, ADDRESSES).await,
        format!("{second}\n{OTHER}/24")
    );
    lab.took("a script in the second node", began);
    lab.wait_for_vault(OTHER).await;
    lab.took("Vault", began);
    let members = MEMBERS.replace("=TOKEN", &format!("={TOKEN}"));
    assert_eq!(
        lab.says(second, &members).await,
        format!("{first} {SERVER}:8301 alive server\n{second} {OTHER}:8301 alive client")
    );
    assert_eq!(lab.says(second, LEFT).await, "");
    let script = Instant::now();
    let failing = lab
        .platform
        .run_script(second, "echo no >&2; exit 3", &lab.interrupt);
    let error = failing.await.expect_err("it fails").to_string();
    assert!(
        error.contains("exit 3") && error.contains("| no"),
        "{error}"
    );
    lab.took("one script", script);

    let mut shell = lab
        .platform
        .shell(second, &lab.interrupt)
        .await
        .expect("a shell");
    assert_eq!(shell.pop().as_deref(), Some("/bin/bash"));
    let mut command = Command::new(&shell[0]);
    command.args(&shell[1..]).arg("hostname");
    let entered = command.output().await.expect("ssh");
    assert_eq!(
        String::from_utf8_lossy(&entered.stdout).trim(),
        second,
        "{entered:?}"
    );

    // A process that ended took nothing with it, and another one makes the network again.
    let route = lab.route(&lab.platform, OTHER, 8200).await;
    lab.kill_switch().await;
    let again = lab.open_again().await;
    assert!(again.is_running(first) && again.is_running(second));
    assert_eq!(lab.route(&again, OTHER, 8200).await, route);
    assert_eq!(lab.says(second, REACHES).await, "reached");

    let new = lab.identity(second, OTHER).await;
    lab.platform.put_identity(second, &new).expect("a disk");
    let reload = "systemctl reload vault-bake-identity.service && echo taken\n";
    assert_eq!(lab.says(second, reload).await, "taken");

    lab.says(second, "echo kept >/var/lib/kept; sync").await;
    lab.stop(second, Stop::Graceful).await;
    lab.start(second, OTHER, Firmware::Uefi).await;
    assert_eq!(lab.route(&again, OTHER, 8200).await, route);
    assert_eq!(lab.says(second, "cat /var/lib/kept").await, "kept");
    lab.wait_for_vault(OTHER).await;
    lab.stop(second, Stop::Kill).await;
    // The kernel closes the ports of a process a moment after its memory.
    let closed = Wait::new("its ports to be closed", Duration::from_secs(10));
    let closed = closed.until(&lab.events, &lab.interrupt, || async {
        match std::net::TcpStream::connect(route) {
            Ok(_) => Poll::<(), String>::NotYet("connected".to_owned()),
            Err(_) => Poll::Ready(()),
        }
    });
    closed.await.unwrap_or_else(|error| panic!("{error}"));
    let removing = again.remove(second, &lab.events, &lab.interrupt);
    removing.await.expect("it is removed");
    assert!(!lab.site.folder.join("nodes").join(second).exists());
    assert!(
        again.is_running(first) && lab.processes().len() == 2,
        "{:?}",
        lab.processes()
    );

    assert_eq!(machines::end(&lab.site, &lab.events).await, []);
    assert_eq!(lab.processes(), []);
    let left = fs::read_dir(&lab.site.folder).expect("the folder").count();
    assert_eq!(left, 0);
}

/// Sends frames as nodes do. The switch works without VMs.
#[tokio::test]
async fn a_network_passes_frames_between_nodes_and_is_made_again_after_a_crash() {
    if !found(Path::new("qemu-system-x86_64")) {
        eprintln!("SKIPPED: qemu-system-x86_64 is missing");
        return;
    }
    let lab = Lab::open(Path::new("no-disk")).await;
    let sockets = [11, 31].map(|number| {
        let node = lab.site.folder.join(format!("nodes/node-{number}"));
        fs::create_dir_all(&node).expect("a folder");
        let record = format!(r#"{{"address": "10.77.0.{number}", "forwards": {{}}}}"#);
        fs::write(node.join("node.json"), record).expect("a record");
        let socket = lab.site.folder.join(format!("network/node-{number}"));
        let socket = UnixDatagram::bind(socket).expect("a socket");
        let limit = Some(Duration::from_secs(10));
        socket.set_read_timeout(limit).expect("a limit");
        socket
    });
    let pass_frame = |from: usize, to: usize| {
        let frame = [&[0xff; 6][..], &[0x52, 0x54, 0, 0, 0, 1], b"\x08\x00 hello"].concat();
        let switch = lab
            .site
            .folder
            .join(format!("network/switch-{}", [11, 31][from]));
        sockets[from].send_to(&frame, switch).expect("a port");
        let mut received = [0; 100];
        let length = sockets[to].recv(&mut received).expect("a frame");
        assert_eq!(received[..length], frame);
    };
    for _ in 0..2 {
        lab.open_again().await;
        pass_frame(0, 1);
        pass_frame(1, 0);
        let mode = fs::metadata(lab.site.folder.join("network")).expect("a folder");
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        lab.kill_switch().await;
        let opening = Machines::open(&lab.site, &lab.events, &lab.interrupt);
        opening.await.expect("a network");
    }
    pass_frame(0, 1);
    assert_eq!(machines::end(&lab.site, &lab.events).await, []);
    assert_eq!(lab.processes(), []);
    let found = Machines::find(&lab.site, &lab.events, &lab.interrupt).await;
    assert!(found.expect("no error").is_none());
}

mod exhaustive {
    use super::*;
    use crate::project::{TestProject, output_text};

    #[tokio::test]
    async fn vms_form_a_network_that_outlives_processes_and_ends_without_leftovers() {
        let Some(project) = TestProject::open(&["python3"]).await else {
            return;
        };
        project.define("quick", &project.quickstart());
        project.lock("quick").await;
        let built = project.run(&["build", "quick", "--skip-test"], &[]).await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        check_machines(&project.artifact()).await;
    }
}
