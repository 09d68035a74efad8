//! `rollout` with containers of the shipped images: every node is replaced, and no request fails.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start programs and wait, as users do"
)]

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::running::TestCluster;
use crate::project::{TestProject, output_text};

/// The options of every rollout here: the images were built without a test, for no channel.
const ACCEPTED: [&str; 4] = ["--allow-untested", "--allow-unpromoted", "--soak", "3"];

/// The limit for the steps of a rollout of six nodes, on a computer with 2 cores that has nothing
/// else to do.
const LIMIT: Duration = Duration::from_secs(180);

/// The limit for the longest time without an answer, on such a computer.
const LONGEST_GAP_MS: u64 = 1500;

/// By so much all limits grow on a busy computer.
const BUSY: u32 = 3;

/// A controller is killed so many milliseconds after it began so many steps.
type Kill = (usize, u64);

/// The kills of `make test`, in early, middle and late steps.
const SOME_KILLS: [Kill; 4] = [(1, 300), (3, 2000), (4, 0), (2, 1000)];

/// The kills of `make test-all`.
const DOZEN_KILLS: [Kill; 12] = [
    (1, 0),
    (1, 300),
    (1, 2000),
    (1, 6000),
    (2, 0),
    (2, 1000),
    (1, 100),
    (2, 4000),
    (2, 0),
    (3, 200),
    (2, 1500),
    (3, 0),
];

/// A rollout verb for a cluster.
pub struct Rollout<'a> {
    pub project: &'a TestProject,
    pub cluster: &'a str,
}

impl Rollout<'_> {
    pub async fn run(&self, verb: &str, options: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["rollout", verb, self.cluster], options].concat();
        let done = self.project.run(&arguments, &[]).await;
        (done.status.code(), output_text(&done))
    }

    pub async fn json(&self, verb: &str) -> Value {
        let arguments = ["rollout", verb, self.cluster, "--json"];
        let output = self.project.run(&arguments, &[]).await.stdout;
        let text = String::from_utf8_lossy(&output);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{verb}: {error}: {text}"))
    }
}

/// The images of rollouts, as `name@version`.
pub struct RolloutImages {
    /// The image of Consul's servers.
    pub consul: String,
    /// The image of the running Vault nodes.
    pub first: String,
    /// A later image with a newer version of Vault.
    pub newer: String,
    /// The last image, with that version of Vault and another configuration.
    pub last: String,
}

/// Replaces all nodes of a running cluster by those of a newer image, then goes back.
pub async fn check(project: &TestProject, cluster: &TestCluster<'_>, images: &RolloutImages) {
    let rollout = Rollout {
        project,
        cluster: "dev",
    };
    let took = forward(&rollout, cluster, &to(&images.consul, &images.last)).await;
    is_replaced(cluster, "2").await;
    let client = cluster.client("after-a-rollout").await;
    assert!(client, "clients are served");
    // New nodes joined servers that are gone now, and renew their certificates all the same.
    cluster.renew().await;
    another_operator_token_is_refused(&rollout, cluster).await;
    let record = recorded(&rollout, 1).await;
    print_figures(
        "of six nodes forward, killed once and stopped once",
        &record,
        took,
    );
    assert!(record["snapshot"]["size"].as_u64().expect("a size") > 0);
    // The steps alone: between them, a controller was killed, and another one rested.
    let steps = record["steps"].as_array().expect("steps").iter();
    let steps: u64 = steps.filter_map(|step| step["elapsed_ms"].as_u64()).sum();
    let (steps, limit) = (Duration::from_millis(steps), LIMIT * factor());
    assert!(steps < limit, "{steps:?}");

    // Data of a newer Vault is not for an older one.
    let options = to(&images.consul, &images.first);
    let (exit, text) = rollout.run("plan", &arguments(&options)).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(
        text.contains("its data does not go back to an older version"),
        "{text}"
    );

    let began = Instant::now();
    let options = to(&images.consul, &images.newer);
    let kills = killed_again(&rollout, cluster, &options, &SOME_KILLS).await;
    let took = began.elapsed();
    is_replaced(cluster, "3").await;
    let client = cluster.client("after-a-rollback").await;
    assert!(client, "clients are served");
    // Once more, it has nothing to do, and the last record stays the last one.
    let same = ["--to", &images.consul, "--to", &images.newer];
    let (exit, text) = rollout.run("start", &arguments(&same)).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("every node has its target image"), "{text}");
    let record = recorded(&rollout, 2).await;
    print_figures(
        &format!("of six nodes back, killed {kills} times"),
        &record,
        took,
    );
    let verified = project.run(&["verify"], &[]).await;
    let exit = verified.status.code();
    assert_eq!(exit, Some(0), "{}", output_text(&verified));
}

/// Replaces all nodes by controllers that are killed a dozen times.
pub async fn check_kills(project: &TestProject, cluster: &TestCluster<'_>, images: &RolloutImages) {
    let rollout = Rollout {
        project,
        cluster: "dev",
    };
    let began = Instant::now();
    let options = to(&images.consul, &images.newer);
    let kills = killed_again(&rollout, cluster, &options, &DOZEN_KILLS).await;
    is_replaced(cluster, "2").await;
    let record = recorded(&rollout, 1).await;
    let what = format!("of six nodes, killed {kills} times");
    print_figures(&what, &record, began.elapsed());
}

/// Replaces the Vault node of a cluster of VMs by one of a newer image.
pub async fn check_vms(project: &TestProject, images: &RolloutImages) {
    let rollout = Rollout {
        project,
        cluster: "vms",
    };
    let began = Instant::now();
    let options = ["--to", &images.consul, "--to", &images.newer];
    let (exit, text) = rollout.run("start", &arguments(&options)).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("rollout of cluster vms completed"), "{text}");
    let of_epoch = Rollout {
        project,
        cluster: "vms@1",
    };
    let record = of_epoch.json("show").await["record"].clone();
    assert_eq!(record["outcome"], "completed", "{record}");
    assert_eq!(record["canary"]["lost"], 0, "{record}");
    print_figures("of one node, a VM", &record, began.elapsed());
}

/// Returns the options that name images.
fn to<'a>(consul: &'a str, vault: &'a str) -> [&'a str; 5] {
    ["--to", consul, "--to", vault, "--all-nodes"]
}

/// Returns the options of a rollout.
pub fn arguments<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [options, &ACCEPTED].concat()
}

/// Rolls out with a kill, a checkpoint, and questions on the way. Returns how long the controllers
/// took, without these questions.
async fn forward(rollout: &Rollout<'_>, cluster: &TestCluster<'_>, options: &[&str]) -> Duration {
    let (exit, text) = rollout.run("plan", &arguments(options)).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("cluster dev: 13 steps"), "{text}");

    // The controller is killed after two steps.
    let start = ["rollout", "start", "dev", "--json"];
    let start = [&start[..], &arguments(options)].concat();
    let event = r#""event":"rollout-step","failed":0,"index":2"#;
    let began = Instant::now();
    let mut killed = rollout.project.run_until(&start, None, event).await;
    killed.kill().await.expect("it is killed");
    let mut took = began.elapsed();
    let status = rollout.json("status").await;
    let states: Vec<&str> = steps(&status, "state");
    assert_eq!(states[..2], ["done", "done"], "{status}");
    assert_eq!(status["is_running"], false, "{status}");
    let (exit, text) = rollout.run("start", &ACCEPTED).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("a rollout of it is open"), "{text}");

    let began = Instant::now();
    let (exit, text) = rollout.run("resume", &["--stop-before-handover"]).await;
    took += began.elapsed();
    assert_eq!(exit, Some(0), "{text}");
    let rests = text.contains("rests: the next step is the hand-over");
    assert!(rests, "{text}");
    let roles = cluster.roles().await;
    let has = |name: &str, role: &str| roles.contains(&(name.to_owned(), role.to_owned()));
    let votes = has("dev-consul-2-1", "voter") || has("dev-consul-2-1", "leader");
    assert!(votes, "{roles:?}");
    assert!(has("dev-vault-2-3", "standby"), "{roles:?}");
    assert_eq!(roles.iter().filter(|(_, role)| role == "active").count(), 1);

    let began = Instant::now();
    completes(rollout).await;
    took + began.elapsed()
}

async fn completes(rollout: &Rollout<'_>) {
    let (exit, text) = rollout.run("resume", &[]).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("rollout of cluster dev completed"), "{text}");
}

/// Rolls out with controllers that are killed again and again. In the middle, the journal is lost
/// too. Returns how many were killed.
async fn killed_again(
    rollout: &Rollout<'_>,
    cluster: &TestCluster<'_>,
    options: &[&str],
    wanted: &[Kill],
) -> usize {
    let start = ["rollout", "start", "dev", "--json"];
    let start = [&start[..], &arguments(options)].concat();
    let resume = ["rollout", "resume", "dev", "--json"];
    let mut kills = 0;
    for (steps, pause_ms) in wanted.iter().copied() {
        let command = if kills == 0 { &start[..] } else { &resume };
        if !killed_in_step(rollout.project, command, steps, pause_ms).await {
            break;
        }
        kills += 1;
        if kills == wanted.len() / 2 {
            // As on another computer: the store has the plan, and the cluster the truth.
            cluster.lose_journals();
        }
    }
    assert!(
        3 * kills >= 2 * wanted.len(),
        "it was killed {kills} times only"
    );
    if rollout.json("status").await["steps"].is_array() {
        completes(rollout).await;
    }
    kills
}

/// Kills the binary some time after it began so many steps. Returns false if it ended before.
async fn killed_in_step(
    project: &TestProject,
    arguments: &[&str],
    steps: usize,
    pause_ms: u64,
) -> bool {
    let mut command = project.command(arguments, &[]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut begun = 0;
    while begun < steps {
        match lines.next_line().await.expect("a line") {
            Some(line) => begun += usize::from(line.contains(r#""event":"step-started""#)),
            None => {
                let ended = child.wait_with_output().await.expect("its end");
                assert!(ended.status.success(), "{}", output_text(&ended));
                return false;
            }
        }
    }
    // If nothing reads on, the binary blocks.
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    child.kill().await.expect("it is killed");
    reader.await.expect("its output ended");
    true
}

/// An image that was not tested, and one in no channel, are not rolled out by accident.
pub async fn guards_refuse(project: &TestProject) {
    let rollout = Rollout {
        project,
        cluster: "dev",
    };
    let (exit, text) = rollout.run("plan", &[]).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("untested"), "{text}");
    let options = ["--allow-untested", "--all-nodes"];
    let (exit, text) = rollout.run("plan", &options).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("is in no channel"), "{text}");
    let (exit, text) = rollout.run("start", &options).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("cannot roll out to cluster dev"), "{text}");
    let (exit, text) = rollout.run("resume", &[]).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("has no open rollout"), "{text}");
}

/// A token that Vault does not know is noticed before a rollout is open.
async fn another_operator_token_is_refused(rollout: &Rollout<'_>, cluster: &TestCluster<'_>) {
    let first = cluster.hide("secrets/vault-operator");
    let other = cluster.put_secret("vault-operator", "hvs.AnotherTokenThatVaultDoesNotKnow");
    for verb in ["plan", "start"] {
        let options = ["--all-nodes", "--allow-untested", "--allow-unpromoted"];
        let (exit, text) = rollout.run(verb, &options).await;
        let refused = "Vault refuses the token in the secret `vault-operator`";
        assert_eq!((exit, text.contains(refused)), (Some(6), true), "{text}");
    }
    std::fs::remove_file(other).expect("the other secret");
    first.bring_back();
}

/// All six nodes are of a generation and serve; nothing is left of the ones before.
async fn is_replaced(cluster: &TestCluster<'_>, generation: &str) {
    let roles = cluster.roles().await;
    assert_eq!(roles.len(), 6, "{roles:?}");
    for (name, role) in &roles {
        assert_eq!(name.split('-').nth(2), Some(generation), "{roles:?}");
        let serves = ["leader", "voter", "active", "standby"].contains(&role.as_str());
        assert!(serves, "{roles:?}");
    }
    for server in 1..=3 {
        let server = format!("dev-consul-{generation}-{server}");
        let members = cluster.members(&server).await;
        assert_eq!(members.len(), 6, "{server}: {members:?}");
        for member in &members {
            let is_new = member.contains(&format!("-{generation}-"));
            assert!(is_new && member.ends_with(" alive"), "{members:?}");
        }
    }
}

/// Returns the record of a rollout, which says that no request failed.
async fn recorded(rollout: &Rollout<'_>, epoch: u64) -> Value {
    let name = format!("dev@{epoch}");
    let of_epoch = Rollout {
        project: rollout.project,
        cluster: &name,
    };
    let shown = of_epoch.json("show").await;
    let record = &shown["record"];
    assert_eq!(record["outcome"], "completed", "{shown}");
    let canary = &record["canary"];
    assert_eq!(canary["lost"], 0, "{record}");
    let requests = canary["requests"].as_u64().expect("a number");
    assert_eq!(canary["failed"], 0, "{record}");
    assert!(
        requests > 500,
        "{requests} requests: the canary measured too little"
    );
    let gap = canary["longest_gap_ms"].as_u64().expect("a number");
    let limit = LONGEST_GAP_MS * u64::from(factor());
    assert!(gap <= limit, "clients waited {gap} ms: {record}");
    let unclean = record["steps"].as_array().expect("steps").iter();
    let unclean: Vec<&Value> = unclean.filter(|step| step["unclean"] == true).collect();
    assert!(unclean.is_empty(), "{unclean:?}");
    record.clone()
}

/// Returns by how much limits of time grow: on a computer that something else keeps busy, more.
#[expect(clippy::print_stderr, reason = "a test says why it accepts more")]
fn factor() -> u32 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default();
    let load: f64 = load.parse().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if load < 2.5 * cores as f64 {
        return 1;
    }
    eprintln!("the computer is busy (load {load}): limits of time are {BUSY} times larger");
    BUSY
}

#[expect(clippy::print_stderr, reason = "a test prints what it measured")]
fn print_figures(what: &str, record: &Value, took: Duration) {
    for step in record["steps"].as_array().expect("steps") {
        eprintln!(
            "  {:<17} {:>7} ms, longest gap {:>5} ms",
            step["step"].as_str().unwrap_or_default(),
            step["elapsed_ms"],
            step["longest_gap_ms"]
        );
    }
    let canary = &record["canary"];
    eprintln!(
        "rollout {what}: {:.0} s, {} requests, {} failed, {} lost, {} tried again, \
         longest gap {} ms",
        took.as_secs_f32(),
        canary["requests"],
        canary["failed"],
        canary["lost"],
        canary["retried"],
        canary["longest_gap_ms"]
    );
}

fn steps<'a>(status: &'a Value, field: &str) -> Vec<&'a str> {
    let steps = status["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| step[field].as_str().expect("a text"))
        .collect()
}
