//! `cluster up`, `status` and `down` with containers of the shipped images.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start programs, as users do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::rollouts::{Rollout, RolloutImages};
use crate::project::{TestProject, output_text};

/// The limit within which `status` must notice a fault.
const NOTICED: Duration = Duration::from_secs(10);

/// The limit for clients after another node was killed or cut off.
const SERVED: Duration = Duration::from_secs(60);

/// The limit for clients after the active Vault was killed: its lock expires first.
const TAKEN_OVER: Duration = Duration::from_secs(90);

/// Writes and reads a secret through the load balancer, as a client of Vault does. `$1` is its key.
const CLIENT: &str = r#"
set -eu
call() {
    curl --silent --fail --max-time 5 --location --cacert "$VAULT_CACERT" --header "X-Vault-Token: $VAULT_TOKEN" "$@"
}
call --request POST --data "{\"data\":{\"at\":\"$1\"}}" "$VAULT_ADDR/v1/secret/data/$1" >/dev/null
call "$VAULT_ADDR/v1/secret/data/$1" | grep -q "\"at\": *\"$1\""
"#;

/// Prints the HTTP status of a request to this node's Consul without and with a wrong token.
const TOKENLESS: &str = r#"
for token in '' 00000000-0000-0000-0000-000000000000; do
    curl --silent --output /dev/null --write-out '%{http_code}\n' --cacert /run/consul-tls/ca.pem \
        --cert /run/consul-tls/tls.crt --key /run/consul-tls/tls.key --header "X-Consul-Token: $token" \
        https://localhost:8501/v1/kv/vault/core/lock
done
"#;

/// Prints how a server answers at its management listener, to the gateway's address.
const MANAGEMENT: &str = r#"
ask() { curl --silent --insecure --max-time 5 --output /dev/null --write-out "$1: %{http_code}\n" "$2"; }
ask 'without a certificate' https://10.77.0.11:8501/v1/status/leader
ask 'in clear' http://10.77.0.11:8501/v1/status/leader
"#;

/// Restarts the services of a server of Consul with the identity that is there now.
const TAKE_IDENTITY: &str = "systemctl restart vault-bake-identity.service && \
    systemctl restart consul.service && echo taken";

/// Prints how many connections failed because of the authority.
const STRANGERS: &str = "journalctl --unit consul.service | \
    grep -c 'x509: certificate signed by unknown authority'";

/// Prints the members of Consul with their states. `$token` must be set before.
const MEMBERS: &str = r#"
curl --silent --cacert /run/consul-tls/ca.pem --cert /run/consul-tls/tls.crt --key /run/consul-tls/tls.key     --header "X-Consul-Token: $token" https://localhost:8501/v1/agent/members |
    jq --raw-output '.[] | .Name + " " + ({"1": "alive", "2": "leaving", "3": "left", "4": "failed"}[.Status | tostring])'
"#;

/// A cluster of the project, and a port of this computer for its load balancer.
pub struct TestCluster<'a> {
    project: &'a TestProject,
    name: &'static str,
    platform: &'static str,
}

impl<'a> TestCluster<'a> {
    pub async fn define(
        project: &'a TestProject,
        name: &'static str,
        nodes: u8,
        platform: &'static str,
    ) -> Self {
        let (consul, vault) = (
            image(project, "consul-server").await,
            image(project, "vault-server").await,
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let definition = format!(
            "schema = 1\ndatacenter = \"dc1\"\n\n[consul]\nimage = \"{consul}\"\nnodes = {nodes}\n\n\
             [vault]\nimage = \"{vault}\"\nnodes = {nodes}\n\n[platform]\nkind = \"{platform}\"\n\n\
             [unseal]\nshares = 3\nthreshold = 2\n\n[front]\nport = {port}\n"
        );
        project.define_cluster(name, &definition);
        Self {
            project,
            name,
            platform,
        }
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let verb = ["cluster", arguments[0], self.name];
        let done = self
            .project
            .run(&[&verb, &arguments[1..]].concat(), &[])
            .await;
        (done.status.code(), output_text(&done))
    }

    /// Plans a rollout of all nodes. Returns the exit code and the output.
    async fn plan_rollout(&self) -> (Option<i32>, String) {
        let (project, cluster) = (self.project, self.name);
        let rollout = Rollout { project, cluster };
        let options = ["--allow-untested", "--all-nodes"];
        rollout.run("plan", &options).await
    }

    pub async fn up(&self) -> String {
        let (exit, text) = self.run(&["up", "--allow-untested"]).await;
        assert_eq!(exit, Some(0), "{text}");
        text
    }

    /// Gives all six nodes new certificates.
    pub async fn renew(&self) {
        let (exit, text) = self.run(&["renew"]).await;
        let renewed = text.contains("6 nodes have new certificates");
        assert_eq!((exit, renewed), (Some(0), true), "{text}");
    }

    pub async fn down(&self) {
        let (exit, text) = self.run(&["down"]).await;
        assert_eq!(exit, Some(0), "{text}");
    }

    async fn status(&self) -> Value {
        let (_, text) = self.run(&["status", "--json"]).await;
        let line = text.lines().find(|line| line.contains(r#""cluster""#));
        let line = line.unwrap_or_else(|| panic!("no status: {text}"));
        serde_json::from_str(line).expect("JSON")
    }

    /// Returns the members of Consul that a server knows, each with its state.
    pub async fn members(&self, server: &str) -> Vec<String> {
        // An agent's own token sees its own node alone.
        let token = fs::read_to_string(self.folder().join("secrets/consul-operator"));
        let script = format!("token={}\n{MEMBERS}", token.expect("a token").trim());
        let output = self.script(server, &script).await;
        let mut members: Vec<String> = output.lines().map(ToOwned::to_owned).collect();
        members.sort();
        members
    }

    /// Returns the role of each node.
    pub async fn roles(&self) -> Vec<(String, String)> {
        let status = self.status().await;
        let nodes = status["nodes"].as_array().expect("nodes");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        nodes
            .iter()
            .map(|node| (text(&node["node"]), text(&node["role"])))
            .collect()
    }

    async fn role(&self, node: &str) -> String {
        let roles = self.roles().await;
        roles
            .into_iter()
            .find(|(name, _)| name == node)
            .expect("a node")
            .1
    }

    /// Returns the node with a role, which must exist.
    pub async fn node(&self, role: &str) -> String {
        let roles = self.roles().await;
        let node = roles.iter().find(|(_, found)| found == role);
        node.unwrap_or_else(|| panic!("no {role}: {roles:?}"))
            .0
            .clone()
    }

    /// Waits until a node has one of these roles.
    async fn becomes(&self, node: &str, roles: &[&str], limit: Duration) {
        let began = Instant::now();
        loop {
            // The limit is for the fault to be seen, not for the busy computer of the test.
            let asked = began.elapsed();
            let role = self.role(node).await;
            if roles.contains(&role.as_str()) {
                return;
            }
            assert!(asked < limit, "{node} is {role}, not {roles:?}");
        }
    }

    /// Runs a shell script with the variables of `cluster env`. Returns whether it succeeded.
    pub async fn client(&self, key: &str) -> bool {
        let (exit, variables) = self.run(&["env"]).await;
        assert_eq!(exit, Some(0), "{variables}");
        let script = format!("{variables}\n{CLIENT}");
        let mut shell = tokio::process::Command::new("sh");
        let shell = shell.args(["-c", &script, "sh", key]).stdin(Stdio::null());
        shell.status().await.expect("a shell").success()
    }

    /// Waits until clients are served.
    async fn serves(&self, key: &str, limit: Duration) {
        let began = Instant::now();
        while !self.client(key).await {
            assert!(began.elapsed() < limit, "clients are not served: {key}");
        }
    }

    /// Runs a script as root on a node, by `cluster shell`.
    async fn script(&self, node: &str, script: &str) -> String {
        let mut command = self.project.command(&["cluster", "shell", node], &[]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(script.as_bytes()).await.expect("it reads");
        drop(input);
        let output = child.wait_with_output().await.expect("it ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Gives a running node an archive with its own names and tokens, made by another authority.
    async fn give_foreign_identity(&self, node: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = folder.path().join("secrets");
        let made = fs::DirBuilder::new().mode(0o700).create(&secrets);
        made.expect("a private folder");
        for secret in fs::read_dir(self.folder().join("secrets")).expect("secrets") {
            let (path, name) = secret
                .map(|one| (one.path(), one.file_name()))
                .expect("one");
            if !name.to_string_lossy().starts_with("authority-") {
                fs::copy(path, secrets.join(name)).expect("a copy");
            }
        }
        let archives = folder.path().join("archives");
        let (to, secrets) = (
            archives.display().to_string(),
            secrets.display().to_string(),
        );
        let make = [
            "identity",
            "make",
            self.name,
            "--to",
            &to,
            "--secrets",
            &secrets,
        ];
        let made = self.project.run(&make, &[]).await;
        assert!(made.status.success(), "{}", output_text(&made));
        let archive = fs::read(archives.join(format!("{node}.tar"))).expect("an archive");
        // The node has the file itself mounted.
        let seed = self.folder().join("nodes").join(node).join("identity");
        fs::write(seed, archive).expect("a file");
        assert_eq!(self.script(node, TAKE_IDENTITY).await, "taken\n");
    }

    /// Waits until a server of Consul says that it trusts no other one.
    async fn is_refused(&self, node: &str) {
        let began = Instant::now();
        loop {
            let count = self.script(node, STRANGERS).await;
            if count.trim().parse::<u32>().expect("a count") > 0 {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{node} is not refused"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Deletes the journals of rollouts.
    pub fn lose_journals(&self) {
        let journals = self.folder().join("rollouts");
        fs::remove_dir_all(journals).expect("journals");
    }

    /// The folder of the cluster's state.
    fn folder(&self) -> PathBuf {
        let clusters = self.project.root().join("state/vault-bake/clusters");
        let entries = fs::read_dir(&clusters).expect("clusters").flatten();
        let prefix = format!("{}-", self.name);
        let mut paths = entries.map(|entry| entry.path());
        let found = paths.find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix)
        });
        found.expect("the folder")
    }

    fn id(&self) -> String {
        let state = fs::read(self.folder().join("cluster.json")).expect("a state");
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        state["id"].as_str().expect("an id").to_owned()
    }

    /// Returns the first process of a container, or the process of a VM, if it runs.
    fn leader(&self, node: &str) -> Option<u32> {
        if self.platform == "machines" {
            let marker = format!("guest={}", self.marker(node));
            return processes(&marker).into_iter().next();
        }
        let root = self.folder().join("nodes").join(node).join("root");
        let containers = processes(&root.display().to_string());
        let mut children = containers.iter().filter_map(|process| child(*process));
        children.find(|process| !containers.contains(process))
    }

    /// Returns an argument of the process that starts a node.
    fn marker(&self, node: &str) -> String {
        format!("vault-bake-node-{}-{node}", self.id())
    }

    /// Waits until a node runs. Returns its name.
    pub async fn starts(&self, node: &str, limit: Duration) -> String {
        let began = Instant::now();
        let mut before = None;
        loop {
            // Its first processes end soon.
            let leader = self.leader(node);
            if leader.is_some() && leader == before {
                return node.to_owned();
            }
            before = leader;
            assert!(began.elapsed() < limit, "{node} does not start");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Kills a node, as if its power was cut.
    pub fn crash(&self, node: &str) {
        signal(self.leader(node).expect("the node runs"), "KILL");
    }

    /// Lets a stop of Vault on a node take longer than its unit waits.
    pub async fn keep_vault_from_stopping(&self, node: &str) {
        let script = "folder=/run/systemd/system/vault.service.d; mkdir -p $folder && \
             printf '[Service]\\nExecStop=/bin/sleep 600\\nTimeoutStopSec=20\\n' >$folder/hang.conf && \
             systemctl daemon-reload && echo hangs";
        assert_eq!(self.script(node, script).await, "hangs\n");
    }

    /// Keeps Vault on a node from doing anything, until a stop in order continues it.
    pub async fn freeze_vault(&self, node: &str) {
        let script = "kill -STOP $(systemctl show --property=MainPID --value vault.service) && \
             echo frozen";
        assert_eq!(self.script(node, script).await, "frozen\n");
    }

    /// Kills the process that started a container, and not the container.
    fn lose_starter(&self, node: &str) {
        let starters = processes(&self.marker(node));
        assert!(!starters.is_empty(), "{node} was started");
        for starter in starters {
            signal(starter, "KILL");
        }
    }

    /// Writes a secret of the cluster. Returns its path.
    pub fn put_secret(&self, name: &str, value: &str) -> PathBuf {
        let path = self.folder().join("secrets").join(name);
        fs::write(&path, format!("{value}\n")).expect("a secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }

    /// Takes a file of the cluster away.
    pub fn hide(&self, file: &str) -> Hidden {
        let path = self.folder().join(file);
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).expect("a file");
        Hidden { path, aside }
    }
}

/// A file that was taken away.
pub struct Hidden {
    path: PathBuf,
    aside: PathBuf,
}

impl Hidden {
    pub fn bring_back(self) {
        assert!(!self.path.exists(), "nothing is in its place");
        fs::rename(self.aside, self.path).expect("the file");
    }
}

/// Returns the first image with this name, as `name@version`.
async fn image(project: &TestProject, name: &str) -> String {
    project.images(name).await.remove(0)
}

/// The nodes of a test that failed end with it.
impl Drop for TestCluster<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let down = ["cluster", "down", self.name, "--force"];
            let mut command = self.project.command(&down, &[]);
            let _ = command.as_std_mut().status();
        }
    }
}

/// Returns the processes with `argument` as a whole argument.
fn processes(argument: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|found| found == argument.as_bytes())
    };
    ids.filter(has).collect()
}

fn child(process: u32) -> Option<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Sends a signal to a process.
pub fn signal(process: u32, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &process.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

/// Returns what a cluster with this id has outside of its folder.
fn outside_of_folder(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    for entry in entries {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(id) && !line.starts_with("sh ") {
            found.push(line);
        }
    }
    for hierarchy in ["", "unified", "systemd"] {
        let folder = Path::new("/sys/fs/cgroup").join(hierarchy);
        let group = folder.join(format!("vault-bake-{id}"));
        found.extend(group.exists().then(|| group.display().to_string()));
    }
    found
}

/// Makes a cluster, uses it, lets its nodes fail one after the other, and replaces them.
pub async fn check(project: &TestProject) {
    let cluster = TestCluster::define(project, "dev", 3, "containers").await;
    let began = Instant::now();
    let mut phases = Phases(began);
    let text = cluster.up().await;
    assert!(text.contains("cluster dev serves after"), "{text}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(300), "{took:?}");
    phases.end("up");

    let roles: BTreeSet<String> = cluster.roles().await.into_iter().map(|one| one.1).collect();
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    assert_eq!(roles, ["active", "leader", "standby", "voter"]);
    assert!(cluster.client("first").await, "clients are served");
    cluster.up().await;
    secrets_are_private(&cluster);
    root_is_revoked(&cluster).await;
    let denied = cluster.script("dev-consul-1-2", TOKENLESS).await;
    assert_eq!(denied, "403\n403\n");
    logs_are_json(project).await;
    a_lost_secret_is_not_made_again(&cluster).await;
    what_serves_goes_on_without_some_secrets(&cluster).await;
    another_management_token_is_noticed(&cluster).await;
    another_operator_token_is_noticed(&cluster).await;
    a_lost_secret_is_noticed_by_a_plan(&cluster).await;
    phases.end("a client, and no access for others");
    // Every node from another one.
    let servers = ["10.77.0.11", "10.77.0.12", "10.77.0.13"];
    let vaults = ["10.77.0.31", "10.77.0.32"];
    let all = [&servers[..], &vaults].concat();
    // Containers are fast enough for more connections at once than VMs: all ports of a node.
    let scan = |all: &[&str], vaults: &[&str]| {
        super::cluster::outside(all, vaults).replace("PROCESSES = 4", "PROCESSES = 10")
    };
    let script = scan(&all, &vaults);
    let outside = cluster.script("dev-vault-1-3", &script).await;
    insta::assert_snapshot!("outside_of_all", outside);
    let last = ["10.77.0.33"];
    let script = scan(&last, &last);
    let outside = cluster.script("dev-vault-1-1", &script).await;
    insta::assert_snapshot!("outside_of_the_last", outside);
    // Go answers plain HTTP with 400, and serves nothing.
    let asked = in_network(&cluster, MANAGEMENT).await;
    assert_eq!(asked, "without a certificate: 000\nin clear: 400\n");

    phases.end("each node seen from outside");
    cluster.renew().await;
    assert!(cluster.client("renewed").await, "clients are served");
    phases.end("renew");

    super::rollouts::guards_refuse(project).await;
    phases.end("rollouts that are refused");

    // A server of Consul that does not lead, with an identity of another authority.
    let server = cluster.node("voter").await;
    cluster.give_foreign_identity(&server).await;
    cluster.becomes(&server, &["failed"], NOTICED).await;
    cluster.is_refused(&server).await;
    cluster.serves("with-a-stranger", SERVED).await;
    phases.end("a node with a wrong identity");
    cluster.crash(&server);
    cluster.becomes(&server, &["stopped"], NOTICED).await;
    cluster.serves("without-a-server", SERVED).await;
    cluster.up().await;
    cluster
        .becomes(&server, &["voter"], Duration::from_secs(60))
        .await;

    phases.end("a killed server of Consul");
    // The network of a standby.
    let standby = cluster.node("standby").await;
    set_link(&cluster, &standby, "down").await;
    cluster.becomes(&standby, &["failed"], NOTICED).await;
    cluster.serves("without-a-standby", SERVED).await;
    set_link(&cluster, &standby, "up").await;
    cluster
        .becomes(&standby, &["standby"], Duration::from_secs(60))
        .await;

    phases.end("a standby without a network");
    // The active Vault.
    let active = cluster.node("active").await;
    cluster.crash(&active);
    cluster.becomes(&active, &["stopped"], NOTICED).await;
    cluster.serves("without-the-active", TAKEN_OVER).await;
    cluster.up().await;
    cluster
        .becomes(&active, &["standby"], Duration::from_secs(60))
        .await;

    phases.end("a killed Vault");
    cluster.lose_starter(&active);
    assert_eq!(cluster.role(&active).await, "standby");
    let text = cluster.up().await;
    assert!(!text.contains(&format!("started {active}")), "{text}");
    phases.end("a node without its starter");
    let id = cluster.id();
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
    phases.end("down");
    killed_and_repeated(project).await;
    phases.end("commands that are killed");
}

/// `cluster logs --json` prints an object for each line of the node's journal.
async fn logs_are_json(project: &TestProject) {
    let logs = ["cluster", "logs", "dev-vault-1-1", "--json", "--lines", "5"];
    let printed = project.run(&logs, &[]).await;
    assert_eq!(printed.status.code(), Some(0), "{}", output_text(&printed));
    let lines: Vec<Value> = String::from_utf8_lossy(&printed.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    for line in &lines {
        assert_eq!(line["node"], "dev-vault-1-1", "{line}");
        let unit = line["unit"].as_str().unwrap_or_default();
        assert!(unit.ends_with(".service"), "{line}");
        assert!(
            line["time"].is_string() && line["line"].is_string(),
            "{line}"
        );
    }
}

/// Nodes use the token of the first time, so another one would be of no use.
async fn a_lost_secret_is_not_made_again(cluster: &TestCluster<'_>) {
    let lost = cluster.hide("secrets/consul-management");
    for verb in [&["renew"][..], &["up", "--allow-untested"]] {
        let (exit, text) = cluster.run(verb).await;
        assert_ne!(exit, Some(0), "{verb:?}: {text}");
        assert!(
            text.contains("cannot find the secret `consul-management`"),
            "{text}"
        );
    }
    lost.bring_back();
}

/// Without the key of the authority nobody can ask the nodes, which serve; without the
/// administrator's token, only people and rollouts lack something.
async fn what_serves_goes_on_without_some_secrets(cluster: &TestCluster<'_>) {
    let lost = cluster.hide("secrets/authority-key");
    let (exit, text) = cluster.run(&["status"]).await;
    assert_eq!(exit, Some(1), "{text}");
    for part in [
        "cluster dev: state unknown",
        "it cannot be asked",
        "problem: cannot find the secret `authority-key`",
        "hint: Take its value from a backup",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (exit, text) = cluster.plan_rollout().await;
    assert_eq!(exit, Some(6), "{text}");
    let refusal = "cannot find the secret `authority-key`";
    assert!(text.contains(refusal) && !text.contains("leads"), "{text}");
    lost.bring_back();
    let lost = cluster.hide("secrets/vault-operator");
    let warned = cluster.up().await;
    let warning = "warning: the secret `vault-operator` is absent";
    assert!(warned.contains(warning), "{warned}");
    lost.bring_back();
}

/// Servers know the first management token alone. Another one is named at once.
async fn another_management_token_is_noticed(cluster: &TestCluster<'_>) {
    let first = cluster.hide("secrets/consul-management");
    let path = cluster.put_secret("consul-management", "5f1b3a52-0000-4000-8000-000000000000");
    let refused = "Consul refuses the token in the secret `consul-management`";
    let began = Instant::now();
    let (exit, text) = cluster.run(&["up", "--allow-untested"]).await;
    assert_eq!((exit, text.contains(refused)), (Some(1), true), "{text}");
    assert!(began.elapsed() < Duration::from_secs(30), "{text}");
    let (exit, text) = cluster.plan_rollout().await;
    assert_eq!((exit, text.contains(refused)), (Some(6), true), "{text}");
    fs::remove_file(path).expect("the other secret");
    first.bring_back();
}

/// The servers know the first operator's token alone, too.
async fn another_operator_token_is_noticed(cluster: &TestCluster<'_>) {
    let first = cluster.hide("secrets/consul-operator");
    let path = cluster.put_secret("consul-operator", "5f1b3a52-0000-4000-8000-000000000001");
    let refused = "Consul refuses the token in the secret `consul-operator`";
    let status = cluster.run(&["status"]).await;
    let planned = cluster.plan_rollout().await;
    let up = cluster.run(&["up", "--allow-untested"]).await;
    for (expected, (exit, text)) in [(1, status), (6, planned), (1, up)] {
        let found = (exit, text.contains(refused), text.contains("hint: "));
        assert_eq!(found, (Some(expected), true, true), "{text}");
    }
    fs::remove_file(path).expect("the other secret");
    first.bring_back();
}

/// A rollout that would miss a secret of the cluster is refused before it begins.
async fn a_lost_secret_is_noticed_by_a_plan(cluster: &TestCluster<'_>) {
    for name in ["gossip-key", "consul-agent-dev-vault-1-1"] {
        let lost = cluster.hide(&format!("secrets/{name}"));
        let (exit, text) = cluster.plan_rollout().await;
        let refusal = format!("cannot find the secret `{name}`");
        let found = (
            exit,
            text.contains(&refusal),
            text.contains("from a backup"),
        );
        assert_eq!(found, (Some(6), true, true), "{text}");
        lost.bring_back();
    }
}

/// Makes a cluster, replaces all its nodes, and goes back.
pub async fn check_rollouts(project: &TestProject, images: &RolloutImages) {
    let cluster = TestCluster::define(project, "dev", 3, "containers").await;
    let mut phases = Phases(Instant::now());
    cluster.up().await;
    phases.end("up");
    super::rollouts::check(project, &cluster, images).await;
    phases.end("rollouts");
    let id = cluster.id();
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
}

/// Makes a cluster, and replaces all its nodes by controllers that are killed.
pub async fn check_kills(project: &TestProject, images: &RolloutImages) {
    let cluster = TestCluster::define(project, "dev", 3, "containers").await;
    cluster.up().await;
    super::rollouts::check_kills(project, &cluster, images).await;
    let id = cluster.id();
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
}

/// Makes a cluster, and replaces its nodes while they fail.
pub async fn check_faults(project: &TestProject, images: &RolloutImages) {
    let cluster = TestCluster::define(project, "dev", 3, "containers").await;
    cluster.up().await;
    super::faults::check(project, &cluster, images).await;
    let id = cluster.id();
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
}

/// Makes a cluster of two VMs, uses it, lets one crash, and replaces it.
pub async fn check_vms(project: &TestProject, images: Option<&RolloutImages>) {
    let cluster = TestCluster::define(project, "vms", 1, "machines").await;
    let mut phases = Phases(Instant::now());
    let text = cluster.up().await;
    assert!(text.contains("cluster vms serves after"), "{text}");
    phases.end("up of VMs");
    let (consul, vault) = ("vms-consul-1-1", "vms-vault-1-1");
    let found = cluster.roles().await;
    let expected = [(consul, "leader"), (vault, "active")];
    assert_eq!(
        found,
        expected.map(|(name, role)| (name.to_owned(), role.to_owned()))
    );
    assert!(cluster.client("first").await, "clients are served");
    assert_eq!(
        cluster.script(vault, "hostname").await,
        format!("{vault}\n")
    );
    secrets_are_private(&cluster);
    let (exit, text) = cluster.run(&["renew"]).await;
    let renewed = text.contains("2 nodes have new certificates");
    assert_eq!((exit, renewed), (Some(0), true), "{text}");
    assert!(cluster.client("renewed").await, "clients are served");
    phases.end("clients and renew");
    cluster.crash(vault);
    cluster.becomes(vault, &["stopped"], NOTICED).await;
    cluster.up().await;
    assert_eq!(cluster.role(vault).await, "active");
    assert!(cluster.client("again").await, "clients are served");
    phases.end("a killed VM");
    if let Some(images) = images {
        super::rollouts::check_vms(project, images).await;
        let found = cluster.roles().await;
        let expected = [(consul, "leader"), ("vms-vault-2-1", "active")];
        let expected = expected.map(|(name, role)| (name.to_owned(), role.to_owned()));
        assert_eq!(found, expected);
        assert!(cluster.client("replaced").await, "clients are served");
        phases.end("a rollout of a tier of VMs");
    }
    let id = cluster.id();
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
    phases.end("down of VMs");
}

/// Prints how long each part of the test takes.
struct Phases(Instant);

impl Phases {
    #[expect(clippy::print_stderr, reason = "a test prints the times it takes")]
    fn end(&mut self, phase: &str) {
        eprintln!("{phase}: {:.1} s", self.0.elapsed().as_secs_f32());
        self.0 = Instant::now();
    }
}

/// No other user can read a secret of the cluster, and no log has one.
fn secrets_are_private(cluster: &TestCluster<'_>) {
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let folder = cluster.folder();
    assert_eq!(mode(&folder), 0o700);
    let secrets = fs::read_dir(folder.join("secrets"))
        .expect("secrets")
        .flatten();
    for secret in secrets {
        assert_eq!(mode(&secret.path()), 0o600, "{:?}", secret.path());
        let value = fs::read_to_string(secret.path()).expect("a secret");
        if secret.file_name() == "authority-certificate" {
            continue;
        }
        let logs = ["network.log", "front/haproxy.cfg", "cluster.json"];
        let consoles = fs::read_dir(folder.join("nodes")).expect("nodes").flatten();
        let consoles = consoles.map(|node| node.path().join("console.log"));
        for log in logs.iter().map(|log| folder.join(log)).chain(consoles) {
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            assert!(
                !text.contains(value.trim()),
                "{log:?} has {:?}",
                secret.file_name()
            );
        }
    }
}

/// The root token of the initialisation opens nothing.
async fn root_is_revoked(cluster: &TestCluster<'_>) {
    let init = fs::read(cluster.folder().join("secrets/vault-init")).expect("keys");
    let init: Value = serde_json::from_slice(&init).expect("JSON");
    let root = init["root_token"].as_str().expect("a token");
    assert_eq!(init["unseal_keys_b64"].as_array().map(Vec::len), Some(3));
    let (_, variables) = cluster.run(&["env"]).await;
    let script = format!(
        "{variables}\ncurl --silent --output /dev/null --write-out '%{{http_code}}' --location --cacert \"$VAULT_CACERT\" \
         --header 'X-Vault-Token: {root}' \"$VAULT_ADDR/v1/auth/token/lookup-self\""
    );
    let output = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .await;
    assert_eq!(output.expect("a shell").stdout, b"403");
}

/// Runs a script in the network of the nodes, at the gateway. Returns its output.
async fn in_network(cluster: &TestCluster<'_>, script: &str) -> String {
    let holder = processes(&format!("vault-bake-cluster-{}", cluster.id()));
    let holder = holder.into_iter().min().expect("the holder");
    let output = tokio::process::Command::new("nsenter")
        .args([
            "--target",
            &child(holder).expect("a child").to_string(),
            "--net",
            "sh",
            "-c",
            script,
        ])
        .output();
    let output = output.await.expect("nsenter");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Cuts the network of a node, or mends it, from outside.
pub async fn set_link(cluster: &TestCluster<'_>, node: &str, state: &str) {
    let status = cluster.status().await;
    let nodes = status["nodes"].as_array().expect("nodes");
    let address = nodes
        .iter()
        .find(|one| one["node"] == node)
        .expect("a node");
    let address = address["address"].as_str().expect("an address");
    let device = format!("vb-n{}", address.rsplit('.').next().expect("a number"));
    in_network(cluster, &format!("ip link set {device} {state}")).await;
}

/// Kills `up` and `down` again and again, a little later each time. The cluster ends the same.
async fn killed_and_repeated(project: &TestProject) {
    // Two clusters of a project must not share a subnet, and the images answer one alone.
    let definition = project.root().join("clusters/dev");
    fs::remove_dir_all(&definition).expect("the definition of a cluster that is removed");
    let cluster = TestCluster::define(project, "small", 1, "containers").await;
    let mut events = 1;
    loop {
        if !killed_after(
            project,
            &["cluster", "up", "small", "--json", "--allow-untested"],
            events,
        )
        .await
        {
            break;
        }
        events += 1;
    }
    assert!(events > 8, "it was killed {events} times only");
    cluster.up().await;
    assert!(cluster.client("after-kills").await, "clients are served");
    let id = cluster.id();
    let foreign = project
        .root()
        .join("state/vault-bake/clusters/foreign-00000000");
    fs::create_dir_all(&foreign).expect("a folder");
    for pause_ms in [0, 20, 60, 120, 250, 500] {
        let mut command = project.command(&["cluster", "down", "small"], &[]);
        let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        child.kill().await.expect("it is killed");
    }
    cluster.down().await;
    // Once more, there is nothing to do.
    cluster.down().await;
    assert_eq!(outside_of_folder(&id), Vec::<String>::new());
    assert!(foreign.exists(), "another cluster's folder is gone");
    fs::remove_dir(&foreign).expect("it is empty");
    let clusters = project.root().join("state/vault-bake/clusters");
    let left: Vec<_> = fs::read_dir(clusters)
        .expect("clusters")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Kills the binary after so many events. Returns false if it ended before.
async fn killed_after(project: &TestProject, arguments: &[&str], events: usize) -> bool {
    let mut command = project.command(arguments, &[]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut seen = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(r#""event":"waiting""#) {
            continue;
        }
        seen += 1;
        if seen == events {
            child.kill().await.expect("it is killed");
            return true;
        }
    }
    let status = child.wait().await.expect("a status");
    assert!(
        status.success(),
        "it ended with {status} after {seen} events"
    );
    false
}
