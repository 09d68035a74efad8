//! `rollout` with containers of the shipped images: every node is replaced, and no request fails.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::running::TestCluster;
use crate::project::{TestProject, output_text};

/// The options of every rollout here: the images were built without a test, for no channel.
const ACCEPTED: [&str; 4] = ["--allow-untested", "--allow-unpromoted", "--soak", "3"];

/// The limit for a rollout of six nodes. On an idle computer with 2 cores it takes below 180 s.
const LIMIT: Duration = Duration::from_secs(600);

/// The limit for the longest time without an answer. Alone on a computer with 2 cores it is 1.5 s.
const LONGEST_GAP_MS: u64 = 6000;

/// A rollout verb for a cluster.
struct Rollout<'a> {
    project: &'a TestProject,
    cluster: &'a str,
}

impl Rollout<'_> {
    async fn run(&self, verb: &str, options: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["rollout", verb, self.cluster], options].concat();
        let done = self.project.run(&arguments, &[]).await;
        (done.status.code(), output_text(&done))
    }

    async fn json(&self, verb: &str) -> Value {
        let arguments = ["rollout", verb, self.cluster, "--json"];
        let output = self.project.run(&arguments, &[]).await.stdout;
        let text = String::from_utf8_lossy(&output);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{verb}: {error}: {text}"))
    }
}

/// Replaces all nodes of a running cluster: with a checkpoint, a kill, and questions on the way.
pub async fn check(project: &TestProject, cluster: &TestCluster<'_>) {
    let rollout = Rollout {
        project,
        cluster: "dev",
    };
    let began = Instant::now();
    let (exit, text) = rollout
        .run("plan", &[&["--all-nodes"], &ACCEPTED[..]].concat())
        .await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("cluster dev: 14 steps"), "{text}");

    // The controller is killed after two steps.
    let start = [
        &["rollout", "start", "dev", "--json", "--all-nodes"],
        &ACCEPTED[..],
    ]
    .concat();
    let event = r#""event":"rollout-step","failed":0,"index":2"#;
    let mut killed = project.run_until(&start, None, event).await;
    killed.kill().await.expect("it is killed");
    let status = rollout.json("status").await;
    let states: Vec<&str> = steps(&status, "state");
    assert_eq!(states[..2], ["done", "done"], "{status}");
    assert_eq!(status["is_running"], false, "{status}");
    let (exit, text) = rollout.run("start", &ACCEPTED).await;
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("a rollout of it is open"), "{text}");

    let (exit, text) = rollout.run("resume", &["--stop-before-handover"]).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(
        text.contains("rests: the next step is the hand-over"),
        "{text}"
    );
    let roles = cluster.roles().await;
    let has = |name: &str, role: &str| roles.contains(&(name.to_owned(), role.to_owned()));
    assert!(
        has("dev-consul-2-1", "voter") || has("dev-consul-2-1", "leader"),
        "{roles:?}"
    );
    assert!(has("dev-vault-2-3", "standby"), "{roles:?}");
    assert_eq!(roles.iter().filter(|(_, role)| role == "active").count(), 1);

    let (exit, text) = rollout.run("resume", &[]).await;
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("rollout of cluster dev completed"), "{text}");
    let took = began.elapsed();
    assert!(took < LIMIT, "{took:?}");
    is_replaced(cluster, "2").await;
    assert!(
        cluster.client("after-a-rollout").await,
        "clients are served"
    );
    let record = recorded(&rollout, 1).await;
    print_figures(&record, took);
    let verified = project.run(&["verify"], &[]).await;
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        output_text(&verified)
    );
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

/// All six nodes are of a generation and serve; nothing is left of the ones before.
async fn is_replaced(cluster: &TestCluster<'_>, generation: &str) {
    let roles = cluster.roles().await;
    assert_eq!(roles.len(), 6, "{roles:?}");
    for (name, role) in &roles {
        assert_eq!(name.split('-').nth(2), Some(generation), "{roles:?}");
        let serves = ["leader", "voter", "active", "standby"].contains(&role.as_str());
        assert!(serves, "{roles:?}");
    }
    let members = cluster.members(&format!("dev-consul-{generation}-1")).await;
    assert_eq!(members.len(), 6, "{members:?}");
    for member in &members {
        assert!(member.contains(&format!("-{generation}-")), "{members:?}");
        assert!(member.ends_with(" alive"), "{members:?}");
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
    let failed = canary["failed"].as_u64().expect("a number");
    assert!(failed <= accepted_failures(requests), "{failed}: {record}");
    assert!(
        requests > 500,
        "{requests} requests: the canary measured too little"
    );
    let gap = canary["longest_gap_ms"].as_u64().expect("a number");
    assert!(gap < LONGEST_GAP_MS, "clients waited {gap} ms");
    let unclean = record["steps"].as_array().expect("steps").iter();
    let unclean: Vec<&Value> = unclean.filter(|step| step["unclean"] == true).collect();
    assert!(unclean.is_empty(), "{unclean:?}");
    assert!(record["snapshot"]["size"].as_u64().expect("a size") > 0);
    record.clone()
}

/// Returns how many requests may fail: none, unless other tests keep the processors so busy that
/// an answer takes longer than the 10 s for which clients wait.
#[expect(clippy::print_stderr, reason = "a test says why it accepts more")]
fn accepted_failures(requests: u64) -> u64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().nth(1).unwrap_or_default();
    let load: f64 = load.parse().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if load < 1.5 * cores as f64 {
        return 0;
    }
    eprintln!("the computer is busy (load {load}): one of 500 requests may fail");
    requests / 500
}

#[expect(clippy::print_stderr, reason = "a test prints what it measured")]
fn print_figures(record: &Value, took: Duration) {
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
        "rollout of six nodes, killed once and stopped once: {:.0} s, {} requests, {} failed, {} \
         lost, {} tried again, longest gap {} ms",
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
