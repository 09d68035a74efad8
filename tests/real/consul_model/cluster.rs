//! Three servers on loopback, what vault-bake observes of them, and clients that write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use vault_bake::cluster::file::TierName;
use vault_bake::event::Events;
use vault_bake::product::consul::{self, RaftServer};
use vault_bake::rollout::Observation;
use vault_bake::rollout::observation::{ConsulView, NodeView, Seen};
use vault_bake::wait::{Interrupt, Poll, Wait, pause};

use super::clusters::node_name;
use crate::products::servers::{Requests, Servers};

/// The limit of any wait.
const LIMIT: Duration = Duration::from_secs(150);

pub struct Cluster {
    pub servers: Servers,
}

/// Returns the name of a server, as plans have it.
pub fn server_name(generation: u32, number: u32) -> String {
    node_name(TierName::Consul, generation, number)
}

/// Polls until `probe` succeeds. Returns the time of the success.
pub async fn poll(what: &str, probe: impl AsyncFn() -> Result<(), String>) -> Instant {
    let often = Duration::from_millis(50);
    Wait::new(what, LIMIT)
        .pausing(often, often)
        .until(&Events::silent(), &Interrupt::default(), || async {
            match probe().await {
                Ok(()) => Poll::<_, String>::Ready(Instant::now()),
                Err(observation) => Poll::NotYet(observation),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Lets time pass.
pub async fn pass(seconds: f64) {
    let time = Duration::from_secs_f64(seconds);
    pause(time, &Interrupt::default()).await.expect("no end");
}

#[expect(
    clippy::disallowed_methods,
    reason = "Consul's servers have the clock of this computer"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

impl Cluster {
    /// Starts three servers, and waits until they vote. Autopilot keeps three.
    pub async fn start(mirror: &Path) -> Self {
        let names: Vec<String> = (1..=3).map(|number| server_name(1, number)).collect();
        let servers = Servers::start_apart(mirror, &names).await;
        servers.wait_for_acls().await;
        let cluster = Self { servers };
        cluster.wait_for_voters(3).await;
        let client = cluster.servers.client(0);
        let set = client.set_min_quorum(&cluster.servers.management, 3).await;
        set.expect("autopilot's configuration");
        cluster
    }

    pub fn name(&self, index: usize) -> &str {
        &self.servers.members[index].name
    }

    pub fn ip(&self, index: usize) -> IpAddr {
        self.servers.members[index].address.ip()
    }

    pub fn running(&self) -> impl Iterator<Item = usize> {
        let members = self.servers.members.iter().enumerate();
        let running = members.filter(|(_, member)| member.is_running);
        running.map(|(index, _)| index)
    }

    /// Waits until `count` servers vote and are healthy, and there is no other.
    pub async fn wait_for_voters(&self, count: usize) -> Instant {
        poll(&format!("{count} voters"), async || {
            let view = self.view().await?;
            let is_good = |name: &String| is_healthy_voter(&view, name);
            let good = view.servers.keys().filter(|name| is_good(name)).count();
            if (good, view.servers.len()) == (count, count) {
                return Ok(());
            }
            Err(format!("{good} of {} servers", view.servers.len()))
        })
        .await
    }

    /// Returns what a server that knows the leader says of all servers.
    pub async fn view(&self) -> Seen<ConsulView> {
        let mut last = "no server runs".to_owned();
        let running: Vec<usize> = self.running().collect();
        for index in running.into_iter().rev() {
            let client = self.servers.client(index);
            let client = client.with_limit(Duration::from_secs(3));
            match client.leader().await {
                Ok(Some(_)) => {
                    return ConsulView::read(&client, &self.servers.management, now()).await;
                }
                Ok(None) => last = format!("{} knows no leader", self.name(index)),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    /// Returns what a rollout sees, of Consul alone.
    pub async fn observe(&self) -> Observation {
        let members = self.servers.members.iter();
        let nodes = members.map(|member| {
            let is_running = member.is_running;
            (member.name.clone(), NodeView { is_running })
        });
        Observation {
            at: now(),
            nodes: nodes.collect(),
            consul: self.view().await,
            vault: BTreeMap::new(),
            active: Err("there is no Vault".to_owned()),
            front: Ok(BTreeMap::new()),
            has_front: false,
            canary: Ok(()),
            has_snapshot: true,
            renewed: BTreeSet::new(),
        }
    }

    /// Returns Raft's servers, as any running server has them.
    pub async fn raft(&self) -> Result<Vec<RaftServer>, String> {
        let mut last = String::new();
        for index in self.running() {
            let client = self.servers.client(index);
            match client.raft_servers(&self.servers.management).await {
                Ok(servers) => return Ok(servers),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    /// Returns the index of the leader.
    pub async fn leader(&self) -> usize {
        loop {
            let servers = self.raft().await.unwrap_or_default();
            if let Some(leader) = servers.iter().find(|server| server.is_leader) {
                return self.servers.index(&leader.node);
            }
            pass(0.1).await;
        }
    }

    /// Returns the index of a server that runs and does not lead, first of the old ones.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        let mut running = self.running();
        running
            .find(|index| *index != leader)
            .expect("another server")
    }

    /// Waits until a server other than `old` names another leader.
    pub async fn wait_for_other_leader(&self, old: usize) -> Instant {
        let others: Vec<consul::Client> = self
            .running()
            .filter(|index| *index != old)
            .map(|index| self.servers.client(index))
            .collect();
        let ip = format!("{}:", self.ip(old));
        poll("another leader", async || {
            for client in &others {
                if let Ok(Some(leader)) = client.leader().await
                    && !leader.starts_with(&ip)
                {
                    return Ok(());
                }
            }
            Err("none".to_owned())
        })
        .await
    }

    /// Waits until Raft's configuration has a server or has it no more.
    pub async fn wait_for_raft(&self, name: &str, is_there: bool) -> Instant {
        poll(&format!("{name} in Raft: {is_there}"), async || {
            let found = self.raft().await?.iter().any(|server| server.node == name);
            (found == is_there)
                .then_some(())
                .ok_or_else(|| format!("{found}"))
        })
        .await
    }

    pub async fn wait_for_vote(&self, name: &str) -> Instant {
        poll(&format!("the vote of {name}"), async || {
            let servers = self.raft().await?;
            let mut voters = servers.iter().filter(|server| server.is_voter);
            let votes = voters.any(|server| server.node == name);
            votes.then_some(()).ok_or_else(|| "no vote".to_owned())
        })
        .await
    }

    /// Starts to write through all agents that run now.
    pub fn write(&self) -> Writer {
        let running = self.running();
        Writer::start(running.map(|index| self.servers.requests(index)).collect())
    }
}

/// Whether a server votes, and autopilot and gossip call it healthy.
pub fn is_healthy_voter(view: &ConsulView, name: &str) -> bool {
    view.servers.get(name).is_some_and(|server| {
        let health = server.health.as_ref();
        server.is_voter && health.is_some_and(|health| health.is_healthy)
    })
}

/// Writes keys one after another, each at the first agent that takes it, until it is stopped.
pub struct Writer {
    written: Arc<Mutex<Vec<(Instant, u32)>>>,
    task: tokio::task::JoinHandle<()>,
    agents: Vec<Requests>,
    since: Instant,
}

impl Writer {
    fn start(agents: Vec<Requests>) -> Self {
        let written: Arc<Mutex<Vec<(Instant, u32)>>> = Arc::default();
        let (done, asked) = (written.clone(), agents.clone());
        let task = tokio::spawn(async move {
            for number in 0_u32.. {
                let path = format!("kv/written/{number}");
                for agent in asked.iter().cycle() {
                    let limit = Duration::from_secs(5);
                    let request = agent.send(Method::PUT, &path, json!(number));
                    if tokio::time::timeout(limit, request).await == Ok(Ok(json!(true))) {
                        break;
                    }
                    pass(0.1).await;
                }
                let entry = (Instant::now(), number);
                done.lock().expect("writes").push(entry);
                pass(0.1).await;
            }
        });
        Self {
            written,
            task,
            agents,
            since: Instant::now(),
        }
    }

    /// Waits for a write that begins now.
    pub async fn wait(&self) {
        let count = || self.written.lock().expect("writes").len();
        let before = count();
        poll("two writes", async || {
            let more = count() - before;
            (more > 1).then_some(()).ok_or_else(|| more.to_string())
        })
        .await;
    }

    /// Ends, and asserts that no confirmed write is lost. Returns their number and longest gap.
    pub async fn stop(self) -> (usize, Duration) {
        self.task.abort();
        let written = self.written.lock().expect("writes").clone();
        let mut keys = Err("no agent".to_owned());
        for agent in &self.agents {
            let path = "kv/written?keys&consistent";
            keys = keys.or(agent.send(Method::GET, path, Value::Null).await);
        }
        let keys = keys.expect("the keys");
        let keys: BTreeSet<&str> = keys
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for (_, number) in &written {
            let key = format!("written/{number}");
            assert!(keys.contains(key.as_str()), "{key} is lost");
        }
        let mut last = self.since;
        let mut longest = Duration::ZERO;
        for (at, _) in &written {
            longest = longest.max(*at - last);
            last = *at;
        }
        (written.len(), longest)
    }
}
