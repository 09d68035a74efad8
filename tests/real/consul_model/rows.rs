//! Servers that join, leave, die and come back.

use std::time::{Duration, Instant};

use testing::delay;

use super::cluster::{Cluster, is_healthy_voter, pass, poll, server_name};
use crate::fixture_vault::hand_over::figures::Figures;

/// Waits for the vote of a server that was just started, and compares the time.
async fn voted(cluster: &Cluster, what: &str, name: &str) -> (String, Duration) {
    let joined = cluster.wait_for_raft(name, true).await;
    let vote = cluster.wait_for_vote(name).await;
    (format!("{what}: voter after"), vote - joined)
}

fn compare_vote(figures: &mut Figures, (row, measured): (String, Duration)) {
    let range = delay::VOTE..=delay::VOTE + delay::VOTE_SPREAD;
    // Autopilot looks at servers each 2 s, and promotes them at a tick each 10 s. If a busy server
    // answers late once, its 10 s begin again.
    figures.compare_range(&row, range, 13.0, measured, (0.5, 15.0));
}

/// Two servers join at different times between ticks.
pub async fn join(cluster: &mut Cluster, figures: &mut Figures) {
    let names = [1, 2].map(|number| server_name(2, number));
    cluster.servers.join(&names[0]);
    cluster.wait_for_raft(&names[0], true).await;
    pass(5.0).await;
    // The first one has been there for 5 s and does not vote.
    let first = Instant::now();
    let cluster = &mut *cluster;
    cluster.servers.join(&names[1]);
    let vote = async { cluster.wait_for_vote(&names[0]).await - first };
    let (vote, second) = tokio::join!(vote, voted(cluster, "second new server", &names[1]));
    let waited = Duration::from_secs(5);
    compare_vote(
        figures,
        ("new server: voter after".to_owned(), vote + waited),
    );
    compare_vote(figures, second);
    cluster.wait_for_voters(5).await;
}

/// Kills a follower of five, whose removal leaves enough voters.
pub async fn kill_one_of_five(cluster: &mut Cluster, figures: &mut Figures) {
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let began = Instant::now();
    cluster.servers.kill(follower).await;
    let gone = cluster.wait_for_raft(cluster.name(follower), false).await;
    compare_cleanup(figures, "follower", gone - began);
    assert_eq!(cluster.leader().await, leader, "the leader stays");
    cluster.wait_for_voters(4).await;
}

fn compare_cleanup(figures: &mut Figures, who: &str, measured: Duration) {
    let row = format!("{who} killed, enough others: out of Raft after");
    // Gossip needs 4 s at least.
    figures.compare(&row, delay::CLEANUP, measured, (9.0, 9.0));
}

/// A follower leaves, then the leader.
pub async fn leave(cluster: &mut Cluster, figures: &mut Figures) {
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    let left = leave_one(cluster, follower).await;
    let bounds = (0.6, 5.0);
    figures.compare("follower leaves: answer after", delay::LEAVE, left, bounds);
    assert_eq!(cluster.leader().await, leader, "the leader stays");
    let began = Instant::now();
    let client = cluster.servers.client(leader);
    let management = &cluster.servers.management;
    let leaving = async {
        client.agent_leave(management).await.expect("left");
        began.elapsed()
    };
    let (left, led) = tokio::join!(leaving, cluster.wait_for_other_leader(leader));
    ended(cluster, leader).await;
    figures.compare("leader leaves: answer after", delay::LEAVE, left, bounds);
    let row = "leader leaves: another one after";
    compare_election(figures, row, delay::ELECTION, led - began);
    cluster.wait_for_voters(2).await;
}

async fn leave_one(cluster: &mut Cluster, index: usize) -> Duration {
    let began = Instant::now();
    let client = cluster.servers.client(index);
    let left = client.agent_leave(&cluster.servers.management).await;
    left.expect("left");
    let left = began.elapsed();
    ended(cluster, index).await;
    left
}

/// Waits for the end of an agent that left, and asserts that Raft does not have it.
async fn ended(cluster: &mut Cluster, index: usize) {
    let member = &mut cluster.servers.members[index];
    let end = member.running.wait().await.expect("an end");
    assert!(end.success(), "{end}");
    member.is_running = false;
    let name = cluster.name(index).to_owned();
    let raft = cluster.raft().await.expect("servers");
    assert!(raft.iter().all(|server| server.node != name), "{raft:?}");
}

/// A server that left comes back without its data, and a new one joins with it.
pub async fn come_back(cluster: &mut Cluster, figures: &mut Figures) {
    let mut members = cluster.servers.members.iter();
    let left = members.rposition(|member| !member.is_running);
    let left = left.expect("a server that left");
    let name = cluster.name(left).to_owned();
    cluster.servers.wipe(left);
    cluster.servers.restart(left);
    let new = server_name(2, 3);
    cluster.servers.join(&new);
    let what = "left server back without data";
    let (back, joined) = tokio::join!(
        voted(cluster, what, &name),
        voted(cluster, "third new server", &new)
    );
    compare_vote(figures, back);
    compare_vote(figures, joined);
    cluster.wait_for_voters(4).await;
}

/// An election may be split, and then needs another round.
fn compare_election(figures: &mut Figures, row: &str, model: u64, measured: Duration) {
    let seconds = Duration::from_millis(model).as_secs_f64();
    figures.compare(row, model, measured, (0.75 * seconds, 2.0 * seconds));
}

/// Kills the leader, and measures the time to the next one.
pub async fn election(cluster: &mut Cluster, leader: usize, figures: &mut Figures) {
    let began = Instant::now();
    cluster.servers.kill(leader).await;
    let led = cluster.wait_for_other_leader(leader).await;
    let row = "leader killed: another one after";
    compare_election(figures, row, delay::ELECTION_AFTER_KILL, led - began);
}

/// Kills the leader of four.
pub async fn kill_leader(cluster: &mut Cluster, figures: &mut Figures) {
    let leader = cluster.leader().await;
    let began = Instant::now();
    election(cluster, leader, figures).await;
    let gone = cluster.wait_for_raft(cluster.name(leader), false).await;
    compare_cleanup(figures, "leader", gone - began);
    cluster.wait_for_voters(3).await;
}

/// Kills a follower of three: it stays in Raft, and is a voter again when it runs.
pub async fn kill_one_of_three(cluster: &mut Cluster, figures: &mut Figures) {
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let name = cluster.name(follower).to_owned();
    let began = Instant::now();
    cluster.servers.kill(follower).await;
    let unhealthy = poll("an unhealthy server", async || {
        let view = cluster.view().await?;
        let is_healthy = is_healthy_voter(&view, &name);
        (!is_healthy)
            .then_some(())
            .ok_or_else(|| "healthy".to_owned())
    })
    .await;
    let row = "follower killed: unhealthy after";
    figures.add(row, unhealthy - began, 0.0..=12.0);
    pass(Duration::from_millis(delay::CLEANUP).as_secs_f64() + 9.0).await;
    let view = cluster.view().await.expect("an answer");
    assert!(view.servers[&name].is_voter, "min_quorum keeps its vote");
    assert_eq!(cluster.leader().await, leader, "the leader stays");
    let began = Instant::now();
    cluster.servers.restart(follower);
    let back = cluster.wait_for_voters(3).await;
    let row = "stopped server back with its data: healthy voter after";
    // The model's servers vote as soon as they have booted. After a long absence, the leader tries
    // again each 10 s, and autopilot looks each 2 s.
    figures.add(row, back - began, 0.0..=18.0);
}
