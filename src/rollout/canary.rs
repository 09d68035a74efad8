//! Sends requests to a cluster during a rollout, and counts those that clients would miss.
//! Takes the addresses, a token and a mount for keys; returns [`CanaryFigures`] of any interval.
//! Changes nothing but its own keys, which it deletes.
//!
//! # What it measures
//!
//! Thirty clients of each of two kinds send a request each 1.5 s, together 40 a second. With fewer
//! clients, all of a kind would pause after the same error, and none would see the end of a gap:
//!
//! - A *patient* client tries a request again 100 ms after an error, for at most 10 s.
//! - A *default* client tries three times, 1 to 1.5 s apart, as Vault's own client for Go does.
//!
//! One of five requests writes a key of its own. The others read one of the last 128 confirmed keys
//! and compare the value. Each second client keeps its connection, as most programs do; the others
//! open one for each try, so that a load balancer chooses the node again. A kept connection ends
//! with its node, so drain a load balancer with a limit. A client waits for its
//! answer before its next request. If an answer is late, it skips requests instead of sending them
//! later, so a cluster without answers gets at most one try from each client at a time.
//!
//! Errors of the connection, 307, 412, 429 and 500 to 599 are tried again; other errors of 400 to
//! 499 fail at once. A 307 is followed, once in a try, if it names a node of the cluster. Each such
//! first answer counts as *retried*. A request without success by then is *failed*.
//!
//! Confirmed writes are read back by [`Canary::read_back`], by [`Canary::stop`], and before a key
//! is deleted. A write that is answered otherwise is *lost*.

mod client;
mod keys;
pub mod recorder;
mod setup;
mod upkeep;

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::figures::CanaryFigures;
use crate::identity::new_token;
use crate::product::vault::{Client, KvMount, KvVersion};
use crate::product::{ApiError, Endpoint, TlsMaterial};
use crate::secret::Secret;

use client::{NodeWay, Way};
use keys::Keys;
use recorder::Recorder;

pub use recorder::Mark;
pub use setup::{MOUNT, setup};

/// The inputs of a canary.
pub struct CanaryOptions {
    /// The authority of the cluster, and the certificate of the canary.
    pub tls: TlsMaterial,
    /// The load balancer. `None`: clients use the nodes in turn.
    pub front: Option<Endpoint>,
    /// The nodes of Vault, for clients without a load balancer and for redirects.
    pub nodes: Vec<CanaryNode>,
    /// The token, as [`setup`] makes it.
    pub token: Secret,
    /// The path of an engine for keys and values of version 2, as [`MOUNT`].
    pub mount: String,
    /// The folder of its keys, which no other canary uses.
    pub prefix: String,
    /// The times.
    pub pace: Pace,
}

/// A node of Vault.
#[derive(Clone)]
pub struct CanaryNode {
    /// The URL that the node tells to clients, its `api_addr`, such as `https://10.77.0.31:8200`.
    pub api_address: String,
    /// The way to it.
    pub endpoint: Endpoint,
}

/// The number of clients and their times. The default is the one of the module's text.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The number of clients of each kind.
    pub clients: u32,
    /// The time from one request of a client to its next.
    pub interval: Duration,
    /// The time after which a request has failed.
    pub deadline: Duration,
    /// The longest try of a patient client. A default client waits until the deadline.
    pub patient_try: Duration,
    /// The pause of a patient client.
    pub patient_pause: Duration,
    /// The shortest and the longest pause of a default client.
    pub default_pause: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            clients: 30,
            interval: Duration::from_millis(1500),
            deadline: Duration::from_secs(10),
            patient_try: Duration::from_secs(5),
            patient_pause: Duration::from_millis(100),
            default_pause: (Duration::from_secs(1), Duration::from_millis(1500)),
        }
    }
}

/// A canary that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// A client that cannot be prepared from the options.
    #[error(transparent)]
    Client(#[from] ApiError),
    /// A thread that cannot be started.
    #[error("cannot start the canary: {0}")]
    Thread(io::Error),
}

/// A running canary. Dropping it ends its requests at once, and leaves its keys.
pub struct Canary {
    shared: Arc<Shared>,
    runtime: Handle,
    work: JoinHandle<()>,
    checks: AtomicU64,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<()>,
}

/// What all tasks of a canary share.
struct Shared {
    tls: TlsMaterial,
    front: Option<Way>,
    nodes: watch::Sender<Vec<NodeWay>>,
    token: Secret,
    mount: String,
    prefix: String,
    pace: Pace,
    /// The beginning of all values, so that no value is that of an earlier rollout.
    nonce: String,
    recorder: Mutex<Recorder>,
    keys: Mutex<Keys>,
    stop: watch::Sender<bool>,
}

impl Canary {
    /// Starts the clients, on a thread of their own.
    pub fn start(options: CanaryOptions) -> Result<Self, CanaryError> {
        let nonce = new_token().map_err(|error| CanaryError::Thread(io::Error::other(error)))?;
        let tls = options.tls;
        let way = |endpoint| Way::new(endpoint, &tls);
        let front = options.front.map(way).transpose()?;
        let shared = Arc::new(Shared {
            front,
            nodes: watch::Sender::new(Vec::new()),
            tls,
            token: options.token,
            mount: options.mount,
            prefix: options.prefix.trim_matches('/').to_owned(),
            pace: options.pace,
            nonce: nonce.expose().to_owned(),
            recorder: Mutex::new(Recorder::new(Instant::now())),
            keys: Mutex::default(),
            stop: watch::Sender::new(false),
        });
        shared.set_nodes(options.nodes)?;
        let (running, runtime) = start_thread().map_err(CanaryError::Thread)?;
        let working = Arc::clone(&shared);
        let work = runtime.spawn(async move {
            tokio::join!(client::run_all(&working), upkeep::run(&working));
        });
        Ok(Self {
            shared,
            runtime,
            work,
            checks: AtomicU64::new(0),
            _running: running,
        })
    }

    /// Replaces the list of nodes. Requests that wait are tried again at one of the new list.
    pub fn set_nodes(&self, nodes: Vec<CanaryNode>) -> Result<(), CanaryError> {
        Ok(self.shared.set_nodes(nodes)?)
    }

    /// Returns the figures since the start.
    pub fn figures(&self) -> CanaryFigures {
        self.shared.figures(Recorder::figures)
    }

    /// Marks the begin of an interval.
    pub fn mark(&self) -> Mark {
        self.shared.recorder().mark(Instant::now())
    }

    /// Returns the figures since a mark.
    pub fn since(&self, mark: &Mark) -> CanaryFigures {
        self.shared
            .figures(|recorder, now| recorder.since(mark, now))
    }

    /// Reads confirmed writes back that were not read back yet, and a sample of earlier ones.
    ///
    /// Call it at the end of a step, before [`Canary::since`]. Tries each key as a patient client
    /// does. A key without an answer is left for the next time, and counts as unchecked.
    pub async fn read_back(&self) {
        let keys = self.shared.keys().to_check(SAMPLE);
        self.run(upkeep::read_back(Arc::clone(&self.shared), keys))
            .await;
    }

    /// Writes a key and reads it, through the load balancer, if there is one, and then at `node`.
    ///
    /// Sends each request once. Returns the reason if one fails, or if a value differs.
    pub async fn check(&self, node: &Endpoint) -> Result<(), String> {
        let number = self.checks.fetch_add(1, Ordering::Relaxed);
        let known = self.shared.fresh_client(node);
        let client = known.map_or_else(|| Client::new(node, &self.shared.tls), Ok);
        let client = client.map_err(|error| error.to_string())?;
        let front = self.shared.front.as_ref();
        let front = front.map(|front| ("load balancer", front.fresh.clone()));
        for (way, client) in front.into_iter().chain([("node", client)]) {
            let shared = Arc::clone(&self.shared);
            let key = format!("check-{number}-{}", way.replace(' ', "-"));
            let checked = self.run(async move { upkeep::check(&shared, &key, client).await });
            let checked = checked.await;
            checked.map_err(|reason| format!("through the {way}: {reason}"))?;
        }
        Ok(())
    }

    /// Ends the clients after their last request, reads back, deletes the keys of this canary, and
    /// returns the figures since the start.
    ///
    /// Takes at most 10 s for requests and 30 s for keys, which are left if Vault does not answer.
    pub async fn stop(mut self) -> CanaryFigures {
        self.shared.stop.send_replace(true);
        if let Err(error) = (&mut self.work).await {
            // The task is not cancelled, as `self` keeps the runtime.
            resume_unwind(error.into_panic());
        }
        self.shared.recorder().close(Instant::now());
        let keys = self.shared.keys().to_check(usize::MAX);
        let shared = Arc::clone(&self.shared);
        let work = async {
            upkeep::read_back(Arc::clone(&shared), keys).await;
            shared.keys().close();
            upkeep::delete_all(shared).await;
        };
        self.run(async {
            let _ = tokio::time::timeout(CLEANUP_LIMIT, work).await;
        })
        .await;
        self.figures()
    }

    /// Runs `work` on the thread of the canary.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.runtime.spawn(work).await {
            Ok(value) => value,
            // The task is not cancelled, as `self` keeps the runtime.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// Starts a thread with a runtime, which ends when the sender is dropped.
fn start_thread() -> io::Result<(oneshot::Sender<()>, Handle)> {
    let (running, ended) = oneshot::channel::<()>();
    let (report, started) = mpsc::channel();
    thread::Builder::new()
        .name("canary".to_owned())
        .spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
            let _ = report.send(handle.map_err(|error| io::Error::other(error.to_string())));
            if let Ok(runtime) = runtime {
                // Ends with an error, as the sender is dropped without a value.
                let _ = runtime.block_on(ended);
            }
        })?;
    let handle = started
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))?;
    Ok((running, handle))
}

impl Shared {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn figures(&self, figures: impl FnOnce(&Recorder, Instant) -> CanaryFigures) -> CanaryFigures {
        let unchecked = self.keys().unchecked() as u64;
        let figures = figures(&self.recorder(), Instant::now());
        CanaryFigures {
            unchecked,
            ..figures
        }
    }

    /// Replaces the nodes, and keeps the clients of those that stay.
    fn set_nodes(&self, nodes: Vec<CanaryNode>) -> Result<(), ApiError> {
        let mut ways = Vec::new();
        for CanaryNode {
            api_address,
            endpoint,
        } in nodes
        {
            let known = {
                let known = self.nodes.borrow();
                let mut known = known.iter().map(|node| &node.way);
                known.find(|way| way.leads_to(&endpoint)).cloned()
            };
            let way = match known {
                Some(way) => way,
                None => Way::new(endpoint, &self.tls)?,
            };
            let origin = client::origin(&api_address);
            ways.push(NodeWay { origin, way });
        }
        self.nodes.send_replace(ways);
        Ok(())
    }

    /// Returns the client of a node that the canary knows.
    fn fresh_client(&self, endpoint: &Endpoint) -> Option<Client> {
        let nodes = self.nodes.borrow();
        let mut ways = nodes.iter().map(|node| &node.way);
        let found = ways.find(|way| way.leads_to(endpoint))?;
        Some(found.fresh.clone())
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, at most until the canary is stopped.
    async fn pause(&self, time: Duration) {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = crate::wait::pause_for(time) => {}
            _ = stop.wait_for(|is_stopped| *is_stopped) => {}
        }
    }

    fn kv(&self) -> KvMount<'_> {
        KvMount {
            path: &self.mount,
            version: KvVersion::V2,
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.prefix)
    }

    fn value(&self, key: &str) -> Value {
        json!({ "value": format!("{}/{key}", self.nonce) })
    }
}

/// The number of keys that are read back again at the end of each step.
const SAMPLE: usize = 16;

/// The limit for reading back and deleting keys at the end.
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);
