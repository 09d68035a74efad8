//! Gates of a planned rollout, asked about real servers that fail.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testing::delay;
use vault_bake::rollout::planner::plan;
use vault_bake::rollout::{Action, Condition, Observation, Plan, Progress, Step};

use super::cluster::{Cluster, is_healthy_voter, pass, poll, server_name};
use super::clusters::{OLD, Shape, Tiers, inventory, request};
use crate::fixture_vault::hand_over::figures::Figures;

/// Returns the plan that replaces the three servers one by one.
fn one_by_one(leader: usize) -> Plan {
    let shape = Shape {
        consul: 3,
        vault: 3,
        leader: u32::try_from(leader + 1).expect("a number"),
        active: 1,
    };
    let tiers = Tiers {
        consul: true,
        vault: false,
    };
    let mut request = request(shape, tiers, OLD);
    request.choices.max_surge = Some(1);
    plan(&inventory(shape), &request).expect("a plan")
}

fn first(plan: &Plan, is_wanted: impl Fn(&Action) -> bool) -> &Step {
    let mut steps = plan.steps.iter();
    steps.find(|step| is_wanted(&step.action)).expect("a step")
}

fn asked(conditions: &[Condition], seen: &Observation, plan: &Plan) -> Progress {
    let each = conditions.iter();
    Progress::all(each.map(|condition| condition.evaluate(seen, plan)))
}

/// Prints each answer that differs from the one before in more than its time.
struct Answers {
    what: &'static str,
    began: Instant,
    last: Option<Progress>,
    printed: String,
}

impl Answers {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            began: Instant::now(),
            last: None,
            printed: String::new(),
        }
    }

    #[expect(clippy::print_stderr, reason = "the answers are for people too")]
    fn add(&mut self, progress: Progress) -> bool {
        let is_met = progress == Progress::Met;
        let text = format!("{progress:?}");
        let text = text.split(" for ").next().unwrap_or_default();
        if self.printed != text {
            let at = self.began.elapsed().as_secs_f64();
            eprintln!("  {at:6.2} s {}: {progress:?}", self.what);
            text.clone_into(&mut self.printed);
        }
        self.last = Some(progress);
        is_met
    }
}

/// Row 6 of the failures: the leader is killed while a new server joins.
pub async fn leader_dies_during_a_join(cluster: &mut Cluster, figures: &mut Figures) {
    let leader = cluster.leader().await;
    let plan = one_by_one(leader);
    let start = first(&plan, |action| matches!(action, Action::Start { .. }));
    wait_for_met(cluster, &start.requires, &plan).await;

    let new = server_name(2, 1);
    cluster.servers.join(&new);
    cluster.wait_for_raft(&new, true).await;
    let writer = cluster.write();
    let dead = cluster.name(leader).to_owned();
    cluster.servers.kill(leader).await;

    // The planned gate is not met: the dead server cannot vote. A new plan asks for the others.
    let survivors: BTreeSet<String> = (1..=3)
        .map(|number| server_name(1, number))
        .chain([new.clone()])
        .filter(|name| *name != dead)
        .collect();
    let voters = |besides: &[&String]| Condition::Voters {
        servers: survivors.clone(),
        besides: besides.iter().copied().cloned().collect(),
    };
    let (with_dead, without) = (voters(&[&dead]), voters(&[]));
    let mut planned = Answers::new("planned gate");
    let mut answers = Answers::new("the others, with the dead one");
    let mut strict = Answers::new("the others alone");
    let mut vote = None;
    let mut gone = None;
    let limit = Duration::from_secs(120);
    loop {
        assert!(planned.began.elapsed() < limit, "the gate is never met");
        pass(0.2).await;
        let seen = cluster.observe().await;
        // What was true then is true now.
        let Ok(raft) = cluster.raft().await else {
            continue;
        };
        assert!(!planned.add(asked(&start.gate, &seen, &plan)), "{seen:#?}");
        let voted = raft.iter().any(|one| one.is_voter && one.node == new);
        if voted {
            vote.get_or_insert_with(Instant::now);
        }
        if voted && raft.iter().all(|one| one.node != dead) {
            gone.get_or_insert_with(Instant::now);
        }
        for (answers, condition) in [(&mut answers, &with_dead), (&mut strict, &without)] {
            if answers.add(condition.evaluate(&seen, &plan)) {
                assert!(vote.is_some(), "met before {new} votes: {seen:#?}");
                quorum_is_healthy(&seen, &survivors);
            }
        }
        if strict.last == Some(Progress::Met) {
            assert!(gone.is_some(), "met while the dead one is in Raft");
            break;
        }
    }
    let (vote, gone) = (vote.expect("a vote"), gone.expect("an end"));
    let row = "replacement votes: dead server out of Raft after";
    figures.compare(row, delay::PRUNE, gone - vote, (1.0, 11.0));

    // It was no empty word: one more server may die.
    let follower = cluster.follower().await;
    cluster.servers.kill(follower).await;
    writer.wait().await;
    print_writes(writer.stop().await);
}

/// The majority of Raft's voters is alive, and one of them leads.
fn quorum_is_healthy(seen: &Observation, survivors: &BTreeSet<String>) {
    let view = seen.consul.as_ref().expect("a view");
    for name in survivors {
        assert!(is_healthy_voter(view, name), "{view:#?}");
    }
    let leaders = view.servers.iter().filter(|(_, server)| server.is_leader);
    let leaders: Vec<&String> = leaders.map(|(name, _)| name).collect();
    assert!(
        leaders.len() == 1 && survivors.contains(leaders[0]),
        "{view:#?}"
    );
}

#[expect(clippy::print_stderr, reason = "the figures are for people too")]
fn print_writes((count, gap): (usize, Duration)) {
    eprintln!("  {count} writes, none lost, longest gap {gap:.2?}");
}

/// Waits until conditions are met in two observations, 2 s apart, as the executor does.
async fn wait_for_met(cluster: &Cluster, conditions: &[Condition], plan: &Plan) {
    let met = async || match asked(conditions, &cluster.observe().await, plan) {
        Progress::Met => Ok(()),
        other => Err(format!("{other:?}")),
    };
    poll("the gate", async || {
        met().await?;
        pass(2.0).await;
        met().await
    })
    .await;
}

/// Row 7: a new server gets no vote. Consul's health and list of peers look well.
pub async fn no_vote(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    let plan = one_by_one(leader);
    let start = first(&plan, |action| matches!(action, Action::Start { .. }));
    let leave = first(&plan, Action::is_destructive);
    assert!(matches!(leave.action, Action::Leave { .. }), "{leave:?}");
    wait_for_met(cluster, &start.requires, &plan).await;

    let requests = cluster.servers.requests(leader);
    let path = "operator/autopilot/configuration";
    let configuration = requests.send(Method::GET, path, Value::Null).await;
    let mut configuration = configuration.expect("autopilot's configuration");
    configuration["ServerStabilizationTime"] = json!("1h");
    let set = requests.send(Method::PUT, path, configuration).await;
    set.expect("a longer time");
    let new = server_name(2, 1);
    cluster.servers.join(&new);
    cluster.wait_for_raft(&new, true).await;
    // The trap: all looks well.
    poll(
        "a healthy answer of autopilot, and four peers",
        async || {
            let health = "operator/autopilot/health";
            let health = requests.send(Method::GET, health, Value::Null).await?;
            let peers = requests.send(Method::GET, "status/peers", Value::Null);
            let peers = peers.await?.as_array().map_or(0, Vec::len);
            if peers == 4
                && health["Healthy"] == json!(true)
                && health["FailureTolerance"] == json!(1)
            {
                return Ok(());
            }
            Err(format!("{peers} peers, {health}"))
        },
    )
    .await;

    let mut gate = Answers::new("gate");
    let mut usual = Answers::new("gate, with the usual time");
    let mut retire = Answers::new("before a server is retired");
    let mut usual_retire = Answers::new("before a server is retired, with the usual time");
    let model = Duration::from_millis(delay::VOTE + delay::VOTE_SPREAD);
    while gate.began.elapsed() < model + Duration::from_secs(6) {
        let mut seen = cluster.observe().await;
        assert!(!gate.add(asked(&start.gate, &seen, &plan)), "{seen:#?}");
        assert!(!retire.add(asked(&leave.requires, &seen, &plan)));
        // Old servers have not been healthy for an hour. That alone is not the reason.
        if let Ok(view) = &mut seen.consul {
            view.stabilization = Duration::from_secs(10);
        }
        assert!(!usual.add(asked(&start.gate, &seen, &plan)), "{seen:#?}");
        assert!(!usual_retire.add(asked(&leave.requires, &seen, &plan)));
        pass(1.0).await;
    }
    let last = usual.last.expect("an answer");
    assert_eq!(last, Progress::Unmet(format!("{new} has no vote yet")));
    let view = cluster.view().await.expect("a view");
    assert!(!view.servers[&new].is_voter);
}

/// Row 19: each server is killed in turn, and started again with its data.
pub async fn rolling_crash(cluster: &mut Cluster) {
    let plan = one_by_one(cluster.leader().await);
    let voters = [Condition::Voters {
        servers: (1..=3).map(|number| server_name(1, number)).collect(),
        besides: BTreeSet::new(),
    }];
    wait_for_met(cluster, &voters, &plan).await;
    let writer = cluster.write();
    for index in 0..3 {
        let mut answers = Answers::new("gate");
        let name = cluster.name(index).to_owned();
        cluster.servers.kill(index).await;
        writer.wait().await;
        let seen = cluster.observe().await;
        assert!(!answers.add(asked(&voters, &seen, &plan)), "{seen:#?}");
        // Autopilot looks at servers each 2 s.
        poll("an unhealthy server", async || {
            let is_healthy = is_healthy_voter(&cluster.view().await?, &name);
            (!is_healthy)
                .then_some(())
                .ok_or_else(|| "healthy".to_owned())
        })
        .await;
        cluster.servers.restart(index);
        let seen = cluster.observe().await;
        assert!(!answers.add(asked(&voters, &seen, &plan)), "{seen:#?}");
        wait_for_met(cluster, &voters, &plan).await;
        answers.add(Progress::Met);
        writer.wait().await;
    }
    print_writes(writer.stop().await);
}
