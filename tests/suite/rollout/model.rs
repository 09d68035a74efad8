//! A cluster in memory under a simulated clock: Consul's servers, Vault's lock, a load balancer and
//! clients. Its delays are those of real servers: [`testing::delay`].

mod operations;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use testing::delay;
use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::rollout::Figures;
use vault_bake::rollout::observation::MemberView;
use vault_bake::rollout::planner::{Inventory, InventoryNode};
use vault_bake::wait::Interrupt;

pub use operations::{Controller, ModelJournal};

/// What can be wrong with a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sick {
    NoBoot,
    WrongVersion,
    Sealed,
    OtherAuthority,
    NoConsul,
    FullDisk,
    NonVoter,
}

/// What goes wrong at a point of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillController,
    Interrupt,
    InterruptTwice,
    TakeOver,
    /// The target image is revoked in the store.
    Revoke,
    /// The store cannot be reached any more.
    LoseStore,
    /// The disk with the journal is full.
    FillDisk,
    /// The controller reaches no node for this time, in milliseconds.
    Blind(u64),
    KillActive,
    KillVaultOfActive,
    KillLeader,
    KillFollower,
    DeleteStandby,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub facts: InventoryNode,
    pub running: bool,
    booted: bool,
    sick: Option<Sick>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    is_voter: bool,
    since: u64,
}

#[derive(Clone, Debug)]
enum Happening {
    Boot(String),
    Promote(String),
    Elect,
    Take,
    Ready(String),
    Probe,
    Cleanup,
    Look,
}

/// The state of the model.
pub struct State {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    random: u64,
    pub nodes: BTreeMap<String, Node>,
    servers: BTreeMap<String, Server>,
    members: BTreeMap<String, MemberView>,
    pub leader: Option<String>,
    min_quorum: usize,
    unsealed: BTreeSet<String>,
    /// When each standby knows the active node.
    knows: BTreeMap<String, u64>,
    lock: Option<String>,
    active_ready: bool,
    registered: BTreeSet<String>,
    front: BTreeMap<String, (bool, Option<bool>)>,
    has_snapshot: bool,
    renewed: BTreeSet<String>,
    outage_since: Option<u64>,
    /// Whether the outage began without a leader of Consul.
    outage_is_held: bool,
    pub counts: Figures,
    /// Versions that were active, in order.
    pub actives: Vec<String>,
    pub broken: Vec<String>,
    pub points: u64,
    pub faults: Vec<(u64, Fault)>,
    pub killed: bool,
    blind_until: u64,
    pub epoch: u64,
    pub is_revoked: bool,
    pub has_no_store: bool,
    pub is_disk_full: bool,
    /// The effects so far: when the target was good, the store there and the disk not full, and
    /// otherwise.
    pub effects: Vec<(bool, &'static str)>,
    pub shares: bool,
    pub sick: Option<(String, Sick)>,
    pub interrupt: Interrupt,
    pub active_was_killed: bool,
    base: Inventory,
}

pub struct Model(pub RefCell<State>);

impl State {
    pub fn new(base: &Inventory, seed: u64) -> Self {
        let mut state = Self {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            nodes: BTreeMap::new(),
            servers: BTreeMap::new(),
            members: BTreeMap::new(),
            leader: None,
            min_quorum: 0,
            unsealed: BTreeSet::new(),
            knows: BTreeMap::new(),
            lock: None,
            active_ready: true,
            registered: BTreeSet::new(),
            front: BTreeMap::new(),
            has_snapshot: false,
            renewed: BTreeSet::new(),
            outage_since: None,
            outage_is_held: false,
            counts: Figures::default(),
            actives: Vec::new(),
            broken: Vec::new(),
            points: 0,
            faults: Vec::new(),
            killed: false,
            blind_until: 0,
            epoch: 1,
            is_revoked: false,
            has_no_store: false,
            is_disk_full: false,
            effects: Vec::new(),
            shares: true,
            sick: None,
            interrupt: Interrupt::default(),
            active_was_killed: false,
            base: base.clone(),
        };
        for (name, facts) in &base.nodes {
            let node = Node {
                facts: facts.clone(),
                running: true,
                booted: true,
                sick: None,
            };
            state.nodes.insert(name.clone(), node);
            state.members.insert(name.clone(), MemberView::Alive);
            match facts.tier {
                TierName::Consul => {
                    let server = Server {
                        is_voter: true,
                        since: 0,
                    };
                    state.servers.insert(name.clone(), server);
                    state.min_quorum += 1;
                    if facts.role == Role::Leader {
                        state.leader = Some(name.clone());
                    }
                }
                TierName::Vault => {
                    state.unsealed.insert(name.clone());
                    state.knows.insert(name.clone(), 0);
                    state.registered.insert(name.clone());
                    state.front.insert(name.clone(), (true, Some(true)));
                    if facts.role == Role::Active {
                        state.lock = Some(name.clone());
                        state.actives.push(facts.releases["vault"].clone());
                    }
                }
            }
        }
        state.later(delay::PROBE, Happening::Probe);
        // Servers have been healthy for a while.
        state.advance(20_000);
        state
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn pick(&mut self, names: &[String]) -> Option<String> {
        let at = self.random(names.len() as u64);
        names.get(usize::try_from(at).unwrap()).cloned()
    }

    fn later(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue
            .insert((self.now + delay, self.sequence), happening);
    }

    pub fn advance(&mut self, time: u64) {
        let end = self.now + time;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
            self.account();
        }
        self.now = end;
        self.counts.requests = end / 25;
    }

    fn running(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.running)
    }

    pub fn active(&self) -> Option<String> {
        self.lock.clone().filter(|_| self.active_ready)
    }

    pub fn voters(&self) -> Vec<String> {
        let voters = self.servers.iter().filter(|(_, server)| server.is_voter);
        voters.map(|(name, _)| name.clone()).collect()
    }

    fn alive(&self) -> Vec<String> {
        let mut voters = self.voters();
        voters.retain(|name| self.running(name));
        voters
    }

    fn has_quorum(&self) -> bool {
        2 * self.alive().len() > self.voters().len()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Boot(name) => self.boot(&name),
            Happening::Promote(name) if self.running(&name) => {
                if self.leader.is_none() {
                    self.later(1_000, Happening::Promote(name));
                } else if let Some(server) = self.servers.get_mut(&name) {
                    server.is_voter = true;
                    self.later(delay::PRUNE, Happening::Cleanup);
                }
            }
            Happening::Elect if self.leader.is_none() && self.has_quorum() => {
                let alive = self.alive();
                self.leader = self.pick(&alive);
                self.later(delay::CLEANUP, Happening::Cleanup);
            }
            Happening::Cleanup if self.leader.is_some() => {
                let dead: Vec<String> = self
                    .servers
                    .keys()
                    .filter(|name| !self.running(name))
                    .cloned()
                    .collect();
                for name in dead {
                    let is_voter = self.servers[&name].is_voter;
                    if !is_voter || self.voters().len() > self.min_quorum {
                        self.servers.remove(&name);
                    }
                }
            }
            Happening::Take if self.lock.is_none() => {
                let able: Vec<String> = self
                    .unsealed
                    .iter()
                    .filter(|name| self.running(name))
                    .cloned()
                    .collect();
                let next = self.pick(&able).filter(|_| self.leader.is_some());
                if let Some(next) = next {
                    self.lock = Some(next.clone());
                    let more = self.random(100);
                    self.later(delay::TAKEOVER + more, Happening::Ready(next));
                } else {
                    self.later(200, Happening::Take);
                }
            }
            Happening::Ready(name) if self.lock.as_deref() == Some(&name) => self.ready(&name),
            Happening::Probe => {
                let up: Vec<(String, bool)> = self
                    .front
                    .keys()
                    .map(|name| {
                        (
                            name.clone(),
                            self.running(name) && self.unsealed.contains(name),
                        )
                    })
                    .collect();
                for (name, is_up) in up {
                    self.front.get_mut(&name).unwrap().1 = Some(is_up);
                }
                self.later(delay::PROBE, Happening::Probe);
            }
            _ => {}
        }
    }

    fn boot(&mut self, name: &str) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.running) else {
            return;
        };
        node.booted = true;
        let sick = node.sick;
        let joins = !matches!(
            sick,
            Some(Sick::NoConsul | Sick::OtherAuthority | Sick::FullDisk | Sick::NoBoot)
        );
        if node.facts.tier == TierName::Vault || !joins {
            return;
        }
        let server = self.servers.entry(name.to_owned()).or_insert(Server {
            is_voter: false,
            since: now,
        });
        server.since = now;
        let is_voter = server.is_voter;
        self.members.insert(name.to_owned(), MemberView::Alive);
        if !is_voter && sick != Some(Sick::NonVoter) {
            let more = self.random(delay::VOTE_SPREAD);
            self.later(delay::VOTE + more, Happening::Promote(name.to_owned()));
        }
    }

    fn ready(&mut self, name: &str) {
        self.active_ready = true;
        let version = self.nodes[name].facts.releases["vault"].clone();
        if self.actives.iter().any(|before| *before > version) {
            self.broken
                .push(format!("{name} with Vault {version} followed a newer one"));
        }
        self.actives.push(version);
        let others: Vec<String> = self.unsealed.iter().cloned().collect();
        for other in others {
            let wait = if other == name {
                0
            } else {
                self.random(delay::RELOOK)
            };
            self.knows.insert(other, self.now + wait);
            self.later(wait, Happening::Look);
        }
    }

    /// Whether a client that retries is answered now.
    pub fn serves(&self) -> bool {
        let Some(active) = self.active().filter(|_| self.has_quorum()) else {
            return false;
        };
        let answers = |name: &String| {
            self.running(name)
                && self.unsealed.contains(name)
                && (*name == active || self.knows.get(name).is_some_and(|at| *at <= self.now))
        };
        let mut front = self.front.iter();
        front.any(|(name, (ready, up))| *ready && *up == Some(true) && answers(name))
    }

    /// Figures what clients feel: half of them wait for 10 s, half try three times in 2 s or more.
    /// While Consul has no leader, requests are held for 7 s instead of being refused.
    fn account(&mut self) {
        match (self.serves(), self.outage_since) {
            (false, None) => {
                self.outage_since = Some(self.now);
                self.outage_is_held = self.leader.is_none();
            }
            (true, Some(since)) => {
                let gap = self.now - since;
                self.outage_since = None;
                self.counts.longest_gap_ms = self.counts.longest_gap_ms.max(gap);
                self.counts.retried += gap / 25;
                let late = |patience: u64| gap.saturating_sub(patience) / 50;
                self.counts.failed +=
                    late(10_000) + late(if self.outage_is_held { 7_000 } else { 2_000 });
            }
            _ => {}
        }
    }

    /// Ends a machine at once.
    pub fn kill(&mut self, name: &str) {
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.running) else {
            return;
        };
        node.running = false;
        node.booted = false;
        self.unsealed.remove(name);
        self.members.insert(name.to_owned(), MemberView::Failed);
        if self.leader.as_deref() == Some(name) {
            self.leader = None;
            self.later(delay::ELECTION_AFTER_KILL, Happening::Elect);
        }
        self.later(delay::CLEANUP, Happening::Cleanup);
        if self.lock.as_deref() == Some(name) {
            let more = self.random(delay::ACQUIRE);
            self.lose_lock(delay::MACHINE_DEAD + more);
        }
        self.check_quorum(name);
        self.account();
    }

    fn lose_lock(&mut self, free_after: u64) {
        self.lock = None;
        self.active_ready = false;
        self.later(free_after, Happening::Take);
    }

    fn check_quorum(&mut self, name: &str) {
        if !self.has_quorum() {
            let now = self.now;
            self.broken
                .push(format!("quorum lost with {name} at {now} ms"));
        }
    }

    /// Begins an orderly stop of Vault on a node.
    fn stop_vault(&mut self, name: &str) {
        self.unsealed.remove(name);
        self.registered.remove(name);
        if self.lock.as_deref() == Some(name) {
            self.lose_lock(delay::RELEASED);
        }
        self.account();
    }

    /// Removes a server from Raft in order.
    fn leave(&mut self, name: &str) {
        self.servers.remove(name);
        self.members.insert(name.to_owned(), MemberView::Left);
        if self.leader.as_deref() == Some(name) {
            self.leader = None;
            self.later(delay::ELECTION, Happening::Elect);
        }
        self.check_quorum(name);
    }

    /// Starts a node that exists and does not run. Returns whether it did.
    pub fn power_on(&mut self, name: &str) -> bool {
        let Some(node) = self.nodes.get_mut(name).filter(|node| !node.running) else {
            return false;
        };
        node.running = true;
        let time = match node.facts.tier {
            TierName::Consul => delay::CONSUL_BOOT,
            TierName::Vault => delay::VAULT_BOOT,
        };
        let more = self.random(2_000);
        self.later(time + more, Happening::Boot(name.to_owned()));
        true
    }

    /// Unseals Vault on a node that has booted.
    pub fn unseal(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else {
            return;
        };
        let is_able = node.sick.is_none_or(|sick| sick == Sick::WrongVersion);
        let is_vault = node.facts.tier == TierName::Vault;
        if is_vault && node.booted && is_able && self.unsealed.insert(name.to_owned()) {
            self.registered.insert(name.to_owned());
            let wait = self.random(delay::RELOOK);
            self.knows.insert(name.to_owned(), self.now + wait);
            self.later(wait, Happening::Look);
        }
    }

    fn power_off(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.running = false;
            node.booted = false;
        }
        self.account();
    }

    fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::KillController => self.killed = true,
            Fault::Interrupt => self.interrupt.raise(),
            Fault::InterruptTwice => {
                self.interrupt.raise();
                self.interrupt.raise();
            }
            Fault::TakeOver => self.epoch += 1,
            Fault::Revoke => self.is_revoked = true,
            Fault::LoseStore => self.has_no_store = true,
            Fault::FillDisk => self.is_disk_full = true,
            Fault::Blind(time) => self.blind_until = self.now + time,
            Fault::KillActive => {
                if let Some(name) = self.lock.clone() {
                    self.active_was_killed = true;
                    self.kill(&name);
                }
            }
            Fault::KillVaultOfActive => {
                if let Some(name) = self.lock.clone() {
                    // The machine follows its service: it does not start Vault unsealed again.
                    self.active_was_killed = true;
                    self.power_off(&name);
                    self.unsealed.remove(&name);
                    let more = self.random(delay::ACQUIRE);
                    self.lose_lock(delay::VAULT_KILLED + more);
                    self.account();
                }
            }
            Fault::KillLeader => {
                if let Some(name) = self.leader.clone() {
                    self.kill(&name);
                }
            }
            Fault::KillFollower => {
                let mut names = self.alive();
                names.retain(|name| Some(name) != self.leader.as_ref());
                if let Some(name) = self.pick(&names) {
                    self.kill(&name);
                }
            }
            Fault::DeleteStandby => {
                let mut names: Vec<String> = self.unsealed.iter().cloned().collect();
                names.retain(|name| Some(name) != self.lock.as_ref());
                if let Some(name) = self.pick(&names) {
                    self.kill(&name);
                    self.remove(&name);
                }
            }
        }
    }

    /// Loses the folder of the cluster, with the journal and the snapshot.
    pub fn lose_folder(&mut self) {
        self.has_snapshot = false;
        self.renewed.clear();
    }

    fn remove(&mut self, name: &str) {
        self.nodes.remove(name);
        self.front.remove(name);
        self.registered.remove(name);
        self.members.remove(name);
        self.knows.remove(name);
    }

    /// Returns the cluster as the planner sees it.
    pub fn inventory(&self) -> Inventory {
        let mut found = self.base.clone();
        let active = self.active();
        found.nodes = self
            .nodes
            .iter()
            .map(|(name, node)| {
                let mut facts = node.facts.clone();
                facts.is_running = node.running;
                facts.is_in_front =
                    facts.tier == TierName::Consul || self.front.get(name).is_some_and(|it| it.0);
                facts.role = match facts.tier {
                    _ if !node.running => Role::Stopped,
                    TierName::Consul if self.leader.as_ref() == Some(name) => Role::Leader,
                    TierName::Consul => match self.servers.get(name) {
                        Some(server) if server.is_voter => Role::Voter,
                        Some(_) => Role::NonVoter,
                        None => Role::Failed,
                    },
                    TierName::Vault if active.as_ref() == Some(name) => Role::Active,
                    TierName::Vault if self.unsealed.contains(name) => Role::Standby,
                    TierName::Vault if node.booted => Role::Sealed,
                    TierName::Vault => Role::Failed,
                };
                (name.clone(), facts)
            })
            .collect();
        found
    }
}
