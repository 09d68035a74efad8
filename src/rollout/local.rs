//! Performs rollouts of a cluster on this computer: nodes of `platform`, HAProxy in front.
//! Takes an opened cluster, key shares and a token of Vault. Keeps `cluster.json` up to date.

mod effects;
mod failures;
mod front;
mod lock;
mod measure;
mod observe;
mod parts;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::canary::Canary;
use super::canary::Mark;
use super::{Action, Condition, EffectError, Evidence, Figures, Observation, Operations, Plan};
use crate::cluster::file::FrontKind;
use crate::cluster::front::Runtime;
use crate::cluster::running::Running;
use crate::cluster::state::{NodeState, State};
use crate::cluster::{Cluster, ClusterError, Context, serve};
use crate::digest::Digest;
use crate::event::millis;
use crate::product::{consul, vault};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::backend::Backend;
use crate::terminal::counted;
use crate::wait::Interrupt;

use failures::failed;

use self::lock::ClusterLock;

pub(super) use measure::start_canary;

/// A cluster on this computer during a rollout.
pub(super) struct Local<'a, B> {
    running: Running<'a>,
    cluster: Cluster<'a>,
    context: &'a Context<'a>,
    /// The interrupt of the user, which cuts no effect but the soak.
    user: &'a Interrupt,
    state: Mutex<State>,
    store: &'a Store<B>,
    lock: ClusterLock,
    /// The manifests that nodes get. None of an abort: it goes back to what there was.
    targets: Vec<Digest>,
    /// Key shares that the user passed.
    shares: &'a [Secret],
    /// A token of Vault that reads the state of high availability.
    vault_token: Option<Secret>,
    canary: Option<Canary>,
    renewed: Mutex<BTreeSet<String>>,
    /// Clients of the nodes, by name. It takes tens of milliseconds to prepare one.
    consuls: Mutex<BTreeMap<String, consul::Client>>,
    vaults: Mutex<BTreeMap<String, vault::Client>>,
    began: Instant,
}

/// What a [`Local`] is opened with.
pub(super) struct Opening<'a, B> {
    pub(super) cluster: Cluster<'a>,
    pub(super) context: &'a Context<'a>,
    pub(super) user: &'a Interrupt,
    pub(super) store: &'a Store<B>,
    pub(super) shares: &'a [Secret],
    pub(super) vault_token: Option<Secret>,
    pub(super) canary: Option<Canary>,
    /// The manifests that nodes get.
    pub(super) targets: Vec<Digest>,
    /// The epoch in the store's log.
    pub(super) epoch: u64,
}

impl<'a, B: Backend> Local<'a, B> {
    /// Joins the parts.
    pub(super) fn open(opening: Opening<'a, B>, running: Running<'a>, state: State) -> Self {
        Self {
            lock: ClusterLock::new(opening.epoch),
            targets: opening.targets,
            running,
            cluster: opening.cluster,
            context: opening.context,
            user: opening.user,
            state: Mutex::new(state),
            store: opening.store,
            shares: opening.shares,
            vault_token: opening.vault_token,
            canary: opening.canary,
            renewed: Mutex::new(BTreeSet::new()),
            consuls: Mutex::default(),
            vaults: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// Returns the time since the start, in milliseconds.
    pub(super) fn elapsed_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Returns a client of the Consul server on a node.
    async fn consul(&self, name: &str, node: &NodeState) -> Result<consul::Client, ClusterError> {
        if let Some(client) = lock(&self.consuls).get(name) {
            return Ok(client.clone());
        }
        let client = self.running.consul(node).await?;
        lock(&self.consuls).insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// Returns a client of the Vault on a node.
    async fn vault(&self, name: &str, node: &NodeState) -> Result<vault::Client, ClusterError> {
        if let Some(client) = lock(&self.vaults).get(name) {
            return Ok(client.clone());
        }
        let client = self.running.vault(node).await?;
        lock(&self.vaults).insert(name.to_owned(), client.clone());
        Ok(client)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state on disk.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), EffectError> {
        let mut state = self.state();
        change(&mut state);
        let written = self.cluster.folder.write(&state);
        written.map_err(|error| failed(ClusterError::from(error)))
    }

    /// Returns the load balancer, if there is one.
    fn front(&self) -> Option<Runtime> {
        let site = self.state().site(self.cluster.folder);
        (self.cluster.file.front.kind == FrontKind::Haproxy)
            .then(|| Runtime::new(serve::stats_socket(&site)))
    }

    /// Returns the path of the snapshot of a plan and of those that follow it.
    fn snapshot_path(&self, plan: &Plan) -> PathBuf {
        let name = format!("consul-{}.snap", plan.generation);
        super::folder(self.cluster.folder).join(name)
    }
}

/// Locks a value that no holder leaves half changed.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Backend> Operations for Local<'_, B> {
    type Mark = Option<Mark>;

    async fn observe(&self, plan: &Plan) -> Observation {
        self.look(plan, &parts::ALL.into()).await
    }

    async fn observe_for(&self, plan: &Plan, conditions: &[Condition]) -> Observation {
        self.look(plan, &parts::of(conditions)).await
    }

    async fn perform(
        &self,
        action: &Action,
        plan: &Plan,
        _interrupt: &Interrupt,
    ) -> Result<Evidence, EffectError> {
        self.act(action, plan).await
    }

    fn console(&self, action: &Action) -> Vec<String> {
        let (Action::Start { nodes } | Action::Restart { nodes }) = action else {
            return Vec::new();
        };
        let platform = self.running.platform();
        let ended = nodes.iter().find(|name| !platform.is_running(name));
        let node = ended.or(nodes.first());
        node.map(|name| platform.console(name)).unwrap_or_default()
    }

    async fn fence(&self) -> Result<(), EffectError> {
        self.confirm_locks().await
    }

    async fn pause(&self, time: Duration) {
        // The executor ends the wait itself when the user interrupts twice.
        let _ = crate::wait::pause(time, &Interrupt::default()).await;
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn canary(&self) -> Figures {
        let figures = self.canary.as_ref().map(Canary::figures);
        figures.map(|figures| figures.summary()).unwrap_or_default()
    }

    fn mark(&self) -> Option<Mark> {
        self.canary.as_ref().map(Canary::mark)
    }

    async fn since(&self, mark: &Option<Mark>) -> Figures {
        let (Some(canary), Some(mark)) = (&self.canary, mark) else {
            return Figures::default();
        };
        canary.read_back().await;
        let figures = canary.since(mark);
        if !figures.is_clean() {
            let (total, errors) = (figures.total(), figures.errors);
            self.context.events.warn(format!(
                "clients felt this step: {} failed, {} read an old value, {} lost; errors of all \
                 tries: {errors}",
                counted(total.failed, "request"),
                total.stale,
                counted(total.lost, "write")
            ));
        }
        figures.summary()
    }
}
