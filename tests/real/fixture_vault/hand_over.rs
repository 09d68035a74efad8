//! How the active role moves from node to node: the stub and, with releases of the user, a real
//! Vault have the same order and times. Each figure has two bounds, and is printed.

mod cluster;
pub mod figures;
mod probe;

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use vault_bake::wait::{Interrupt, pause};

use super::lab::mirror;
use cluster::{Cluster, LockWatch};
use figures::{Figures, assert_known};
use probe::Probe;

const NO_ACTIVE: &str = "500 local node not active but active cluster node not found";
/// What a standby says if the active node is gone between two looks.
const NONE_FOUND: &str = "503 no active Vault instance found";
const SEALED: &str = "503 Vault is sealed";

/// Lets time pass in which probes ask.
async fn pass(seconds: u64) {
    let seconds = Duration::from_secs(seconds);
    pause(seconds, &Interrupt::default()).await.expect("no end");
}

#[tokio::test]
async fn the_active_role_moves_as_with_vault() {
    let Some(mirror) = mirror().await else { return };
    let cluster = Cluster::start(&mirror).await;
    let mut figures = Figures::default();
    shapes(&cluster).await;
    reads_without_consul(&cluster).await;
    a_graceful_stop(&cluster, &mut figures).await;
    a_step_down(&cluster, &mut figures).await;
    a_destroyed_session(&cluster, &mut figures).await;
    figures.check();
}

mod exhaustive {
    use super::*;

    #[tokio::test]
    async fn a_killed_node_and_a_stopped_standby_take_as_long_as_with_vault() {
        let Some(mirror) = mirror().await else { return };
        let cluster = Cluster::start(&mirror).await;
        let mut figures = Figures::default();
        a_stopped_standby(&cluster, &mut figures).await;
        a_killed_node(&cluster, &mut figures).await;
        figures.check();
    }
}

/// What an active node, a standby and Consul show.
async fn shapes(cluster: &Cluster) {
    let active = cluster.active().await.expect("an active node");
    let standby = (active + 1) % 3;
    let base = |node: usize| cluster.base(node);
    let (status, own) = cluster.get(active, "sys/health").await;
    assert_eq!(status, 200);
    let (status, other) = cluster.get(standby, "sys/health").await;
    assert_eq!(status, 429);
    for member in ["version", "cluster_id", "cluster_name"] {
        assert!(own[member].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(own[member], other[member], "{member}");
    }
    assert_eq!(
        (&own["standby"], &other["standby"]),
        (&json!(false), &json!(true))
    );

    let (_, leader) = cluster.get(active, "sys/leader").await;
    assert_eq!(
        (&leader["is_self"], &leader["leader_address"]),
        (&json!(true), &json!(base(active)))
    );
    let since: jiff::Timestamp = leader["active_time"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    assert!(since.as_second() > 0);
    let (_, leader) = cluster.get(standby, "sys/leader").await;
    assert_eq!(
        (&leader["is_self"], &leader["leader_address"]),
        (&json!(false), &json!(base(active)))
    );
    assert_eq!(leader["active_time"], "0001-01-01T00:00:00Z");

    // A standby forwards this too.
    let (_, status) = cluster.get(standby, "sys/ha-status").await;
    let nodes = status["nodes"].as_array().expect("nodes");
    let addresses: Vec<&str> = nodes
        .iter()
        .filter_map(|node| node["api_address"].as_str())
        .collect();
    assert!(nodes.len() == 3 && addresses.is_sorted(), "{addresses:?}");
    for node in nodes {
        let is_active = node["api_address"] == base(active);
        assert_eq!(node["active_node"], is_active);
        assert_eq!(node["last_echo"].is_null(), is_active, "{node}");
        assert_eq!(node["version"], own["version"]);
        assert!(
            node["hostname"].is_string() && node["cluster_address"].is_string(),
            "{node}"
        );
    }

    let answer = cluster
        .request(standby, Method::GET, "secret/x?a=b", true)
        .await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(
        answer.headers()["location"],
        format!("{}/v1/secret/x?a=b", base(active))
    );
    assert!(answer.headers().contains_key("x-vault-hostname"));
    in_consul(cluster, active).await;
}

async fn in_consul(cluster: &Cluster, active: usize) {
    let lock = cluster.consul(Method::GET, "kv/vault/core/lock").await;
    assert_eq!(lock[0]["Flags"], json!(0x2DDC_CBC0_58A5_0C18_u64));
    let session = lock[0]["Session"].as_str().expect("an owner");
    let session = cluster
        .consul(Method::GET, &format!("session/info/{session}"))
        .await;
    assert_eq!(
        (&session[0]["TTL"], &session[0]["LockDelay"]),
        (&json!("15s"), &json!(15_000_000_000_u64))
    );
    assert_eq!(session[0]["Name"], "Vault Lock");
    let term = cluster::decoded(&lock[0]["Value"]);
    let leader = cluster
        .consul(Method::GET, &format!("kv/vault/core/leader/{term}"))
        .await;
    assert!(leader[0]["Value"].is_string(), "{leader}");
    let tagged = cluster.tags().await;
    assert_eq!(tagged.len(), 3, "{tagged:?}");
    for (address, tags) in tagged {
        let role = if address == cluster.base(active) {
            "active"
        } else {
            "standby"
        };
        assert!(tags.contains(&role.to_owned()), "{address}: {tags:?}");
    }
}

/// The active node answers reads of what it has read or written before, and no others.
async fn reads_without_consul(cluster: &Cluster) {
    let active = cluster.active().await.expect("an active node");
    let limit = Duration::from_secs(1);
    cluster.write(active, "secret/written").await;
    cluster.pause_consul();
    let read = tokio::time::timeout(limit, cluster.get(active, "secret/x")).await;
    let written = tokio::time::timeout(limit, cluster.get(active, "secret/written")).await;
    let unknown = tokio::time::timeout(limit, cluster.get(active, "secret/unknown")).await;
    cluster.resume_consul();
    assert_eq!(read.expect("an answer").0, 200);
    assert_eq!(written.expect("an answer").0, 200);
    assert!(unknown.is_err(), "{unknown:?}");
    assert_eq!(cluster.get(active, "secret/unknown").await.0, 404);
}

/// Probes of all nodes before a change of the active node.
struct Watched {
    active: usize,
    nodes: Vec<Probe>,
    kept: Probe,
    lock: LockWatch,
}

impl Watched {
    async fn start(cluster: &Cluster) -> Self {
        let active = cluster.active().await.expect("an active node");
        let watched = Self {
            active,
            nodes: (0..3)
                .map(|node| cluster.probe(node, "secret/x", false))
                .collect(),
            kept: cluster.probe(active, "secret/x", true),
            lock: cluster.watch_lock(),
        };
        pass(1).await;
        watched
    }

    /// Returns the nodes that were standbys, first the one that is active now.
    fn standbys(&self, now: usize) -> [usize; 2] {
        assert_ne!(now, self.active, "another node became active");
        [now, 3 - now - self.active]
    }

    #[expect(clippy::print_stderr, reason = "the answers are for people too")]
    fn print(&self, since: Instant) {
        for (node, probe) in self.nodes.iter().enumerate() {
            eprintln!("  node {node}: {}", probe.summary(since));
        }
        eprintln!("  kept connection: {}", self.kept.summary(since));
    }
}

/// The hand-over after the end of a term: the same for a stop and a step-down.
async fn handed_over(
    cluster: &Cluster,
    watched: &Watched,
    since: Instant,
    figures: &mut Figures,
) -> usize {
    let now = cluster.wait_for_other(watched.active).await;
    pass(3).await;
    watched.print(since);
    let freed = watched.lock.freed(since).expect("a free lock");
    let taken = watched.lock.taken(since).expect("a new owner");
    figures.add("lock released after", freed - since, 0.45..=3.0);
    figures.add(
        "lock taken over after its release",
        taken - freed,
        0.0..=1.5,
    );
    let [new, other] = watched.standbys(now);
    figures.add(
        "gap of the new active node",
        watched.nodes[new].gap(since),
        0.45..=4.0,
    );
    figures.add(
        "gap of the other standby, redirects not followed",
        watched.nodes[other].gap(since),
        0.45..=6.0,
    );
    // While the active node ends its term, forwarded requests wait. They do not succeed.
    let ends = (freed - since).as_secs_f64();
    let held = watched.nodes[other].answers(since, ends - 0.35..ends - 0.1);
    assert!(!held.contains("200"), "{held:?}");
    let old = format!("307 {}", cluster.base(watched.active));
    let redirect = format!("307 {}", cluster.base(now));
    let known = ["200", &old, &redirect, NO_ACTIVE, NONE_FOUND, SEALED];
    for standby in [new, other] {
        let answers = watched.nodes[standby].answers(since, 0.0..60.0);
        assert_known(&answers, &known);
    }
    now
}

async fn a_graceful_stop(cluster: &Cluster, figures: &mut Figures) {
    let watched = Watched::start(cluster).await;
    let since = Instant::now();
    let stopped = cluster.stop(watched.active);
    let (ended, refused, now) = tokio::join!(
        stopped,
        cluster.refuses(watched.active),
        handed_over(cluster, &watched, since, figures)
    );
    let freed = watched.lock.freed(since).expect("a free lock");
    let refused = refused - since;
    figures.add("SIGTERM: new connections refused after", refused, 0.0..=1.5);
    assert!(since + refused < freed, "the listener ends before the lock");
    assert!(freed < ended, "the lock ends before the process");
    figures.add("SIGTERM: process ended after", ended - since, 0.5..=6.0);
    let answers = watched.nodes[watched.active].answers(since, refused.as_secs_f64() + 0.1..60.0);
    assert_known(&answers, &["refused"]);
    let ends = (freed - since).as_secs_f64();
    let kept = watched.kept.answers(since, ends - 0.35..60.0);
    assert_known(&kept, &[SEALED, "broken", "refused"]);
    assert_eq!(
        cluster.tags().await.len(),
        2,
        "the stopped node is not in the catalog"
    );
    cluster.restart(watched.active).await;
    assert_eq!(cluster.get(watched.active, "sys/health").await.0, 503);
    let (status, answer) = cluster.get(watched.active, "secret/x").await;
    assert_eq!(
        (status, &answer["errors"][0]),
        (503, &json!("Vault is sealed"))
    );
    cluster.unseal(watched.active).await;
    // A standby looks every 2.5 s and sends an echo every 5 s.
    let seen = cluster.wait_for_members(now, 3).await;
    figures.add(
        "standby known to the active node after its unseal",
        seen,
        0.0..=9.0,
    );
}

async fn a_step_down(cluster: &Cluster, figures: &mut Figures) {
    let watched = Watched::start(cluster).await;
    let since = Instant::now();
    let answer = cluster
        .request(watched.active, Method::PUT, "sys/step-down", false)
        .await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let answered = Instant::now();
    figures.add("step-down: answered after", answered - since, 0.0..=1.5);
    let now = handed_over(cluster, &watched, since, figures).await;
    let freed = watched.lock.freed(since).expect("a free lock");
    assert!(answered < freed, "the answer comes before the step-down");
    let mut old = watched.nodes[watched.active].since(since);
    old.extend(watched.kept.since(since));
    let held = old.iter().map(|sample| sample.answered - sample.sent).max();
    figures.add(
        "step-down: longest request of the old active node",
        held.expect("requests"),
        0.2..=3.0,
    );
    let redirect = format!("307 {}", cluster.base(now));
    let answers = watched.nodes[watched.active].answers(since, 0.0..60.0);
    assert_known(&answers, &["200", &redirect, NO_ACTIVE, NONE_FOUND]);
}

async fn a_destroyed_session(cluster: &Cluster, figures: &mut Figures) {
    let watched = Watched::start(cluster).await;
    let lock = cluster.consul(Method::GET, "kv/vault/core/lock").await;
    let session = lock[0]["Session"].as_str().expect("an owner").to_owned();
    let since = Instant::now();
    cluster
        .consul(Method::PUT, &format!("session/destroy/{session}"))
        .await;
    cluster.wait_for_any(Duration::from_secs(30)).await;
    watched.print(since);
    let freed = watched.lock.freed(since).expect("a free lock");
    let taken = watched.lock.taken(since).expect("a new owner");
    figures.add(
        "session destroyed: lock free after",
        freed - since,
        0.0..=2.0,
    );
    // Consul's delay of 15 s, and Vault's pause of 5 s between two tries.
    figures.add(
        "session destroyed: lock taken over after",
        taken - since,
        14.9..=25.0,
    );
    for probe in &watched.nodes {
        let meanwhile = probe.answers(since, 2.0..14.0);
        assert_eq!(meanwhile.iter().collect::<Vec<_>>(), [NO_ACTIVE]);
    }
}

async fn a_stopped_standby(cluster: &Cluster, figures: &mut Figures) {
    let (active, standby) = (0, 2);
    assert_eq!(cluster.active().await, Some(active));
    let since = Instant::now();
    let ended = cluster.stop(standby).await;
    figures.add("stopped standby: ended after", ended - since, 0.0..=20.0);
    cluster.restart(standby).await;
    cluster.unseal(standby).await;
    let others = cluster.probe(active, "secret/x", false);
    pass(1).await;
    let since = Instant::now();
    let (ended, refused) = tokio::join!(cluster.stop(standby), cluster.refuses(standby));
    // Vault waits for Consul's answer about the lock. It comes 15 s after the question, which this
    // node asked at its unseal, and up to a sixteenth later.
    figures.add(
        "stopped standby: ended after, a second after its unseal",
        ended - since,
        11.0..=18.0,
    );
    figures.add(
        "stopped standby: new connections refused after",
        refused - since,
        0.0..=1.5,
    );
    assert_known(&others.answers(since, 0.0..60.0), &["200"]);
    assert_eq!(
        cluster.tags().await.len(),
        2,
        "the stopped node is not in the catalog"
    );
    let gone = cluster.wait_for_members(active, 2).await;
    figures.add(
        "stopped standby: unknown to the active node after its end",
        gone,
        0.0..=17.0,
    );
    cluster.restart(standby).await;
    cluster.unseal(standby).await;
    cluster.wait_for_members(active, 3).await;
}

async fn a_killed_node(cluster: &Cluster, figures: &mut Figures) {
    let watched = Watched::start(cluster).await;
    let since = Instant::now();
    cluster.kill(watched.active).await;
    cluster.wait_for_any(Duration::from_secs(70)).await;
    watched.print(since);
    let freed = watched.lock.freed(since).expect("a free lock");
    let taken = watched.lock.taken(since).expect("a new owner");
    // The session ends after twice its time, counted from its last renewal: up to 7.5 s ago.
    figures.add("killed node: lock free after", freed - since, 22.0..=32.0);
    figures.add(
        "killed node: lock taken over after the end of its session",
        taken - freed,
        14.9..=25.0,
    );
    let old = format!("307 {}", cluster.base(watched.active));
    for standby in (0..3).filter(|node| *node != watched.active) {
        // Standbys name the dead node until its session ends.
        let before = watched.nodes[standby].answers(since, 1.0..20.0);
        assert_eq!(before.iter().collect::<Vec<_>>(), [&old]);
        let freed = (freed - since).as_secs_f64();
        let after = watched.nodes[standby].answers(since, freed + 1.0..freed + 14.0);
        assert_eq!(after.iter().collect::<Vec<_>>(), [NO_ACTIVE]);
    }
}
