//! One client: its connections, its tries, and when it sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::watch;

use super::recorder::{Ended, Kind, Outcome};
use super::{CanaryNode, Shared, keys::Key};
use crate::product::vault::Client;
use crate::product::{ApiError, Endpoint};
use crate::rollout::figures::ErrorKind;
use crate::wait::pause_for;

/// Sends requests until the canary is stopped.
pub(super) async fn run(shared: Arc<Shared>, kind: Kind, number: u32) {
    let pace = shared.pace;
    let mut connections = Connections::new(&shared, number.is_multiple_of(2));
    // The clients of a kind take turns, and both kinds too.
    let offset = pace.interval * (2 * number + kind as u32) / (2 * pace.clients.max(1));
    let began = Instant::now() + offset;
    let mut turn = 0;
    loop {
        let due = began + pace.interval * turn;
        shared
            .pause(due.saturating_duration_since(Instant::now()))
            .await;
        if shared.is_stopped() {
            return;
        }
        let operation = next_operation(&shared, (number + turn).is_multiple_of(WRITES_ONE_OF));
        request(&shared, &mut connections, kind, operation).await;
        // Turns that passed meanwhile are skipped.
        let passed = began.elapsed().as_nanos() / pace.interval.as_nanos().max(1);
        turn = turn.max(u32::try_from(passed).unwrap_or(u32::MAX - 1)) + 1;
    }
}

/// A request to the key with this number.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Write(u64),
    Read(u64),
}

fn next_operation(shared: &Shared, is_write: bool) -> Operation {
    let mut keys = shared.keys();
    let readable = keys.choose(rand::random_range(0..usize::MAX));
    match readable {
        Some(number) if !is_write || keys.is_full() => Operation::Read(number),
        _ => Operation::Write(keys.new_number()),
    }
}

/// Sends one request with its tries, and records it.
async fn request(
    shared: &Shared,
    connections: &mut Connections<'_>,
    kind: Kind,
    operation: Operation,
) {
    let began = Instant::now();
    shared.recorder().begin(kind, began);
    let (result, had_error) = send(shared, connections, kind, operation, true).await;
    let (now, longest_read) = (Instant::now(), shared.longest_read());
    let ended = Ended {
        began,
        is_write: matches!(operation, Operation::Write(_)),
        had_error,
        result,
    };
    if let Operation::Write(number) = operation {
        let key = Key {
            number,
            writer: kind,
        };
        match result {
            Outcome::Failed => shared.keys().abandon(key, now, longest_read),
            _ => shared.keys().confirm(key, now, longest_read),
        }
    }
    shared.recorder().end(kind, &ended, now);
}

/// Tries a request as a client of a kind does. Returns whether the first answer was an error too.
pub(super) async fn send(
    shared: &Shared,
    connections: &mut Connections<'_>,
    kind: Kind,
    operation: Operation,
    is_counted: bool,
) -> (Outcome, bool) {
    let (pace, began) = (shared.pace, Instant::now());
    let mut had_error = false;
    for number in 1.. {
        let limit = pace.deadline.saturating_sub(began.elapsed());
        let limit = match kind {
            Kind::Patient => limit.min(pace.patient_try),
            Kind::Default => limit,
        };
        let tried = connections.attempt(operation, limit).await;
        had_error |= !tried.errors.is_empty();
        if is_counted {
            let mut recorder = shared.recorder();
            tried.errors.iter().for_each(|error| recorder.error(*error));
        }
        if let Some(outcome) = tried.outcome {
            return (outcome, had_error);
        }
        let pause = match kind {
            Kind::Patient => pace.patient_pause,
            Kind::Default if number < DEFAULT_TRIES => {
                let (shortest, longest) = pace.default_pause;
                shortest + longest.saturating_sub(shortest).mul_f64(rand::random())
            }
            Kind::Default => break,
        };
        if began.elapsed() + pause >= pace.deadline {
            break;
        }
        pause_for(pause).await;
    }
    (Outcome::Failed, had_error)
}

/// One try. It has two errors if a redirect was followed, and one is enough to count.
struct Try {
    errors: Vec<ErrorKind>,
    /// `None` if another try may succeed.
    outcome: Option<Outcome>,
}

/// The connections of one client, to the load balancer or to each node.
pub(super) struct Connections<'a> {
    shared: &'a Shared,
    is_keeping: bool,
    nodes: watch::Receiver<Vec<CanaryNode>>,
    made: HashMap<String, Client>,
    turn: usize,
}

impl<'a> Connections<'a> {
    pub(super) fn new(shared: &'a Shared, is_keeping: bool) -> Self {
        Self {
            shared,
            is_keeping,
            nodes: shared.nodes.subscribe(),
            made: HashMap::new(),
            turn: rand::random_range(0..1000),
        }
    }

    /// Fails if no client can be prepared.
    pub(super) fn validate(&mut self) -> Result<(), ApiError> {
        let endpoints: Vec<Endpoint> = self.endpoints();
        for endpoint in endpoints {
            self.client(&endpoint)?;
        }
        Ok(())
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let nodes = self.nodes.borrow();
        let nodes = nodes.iter().map(|node| node.endpoint.clone());
        nodes.chain(self.shared.front.clone()).collect()
    }

    /// Returns the endpoint of the next try.
    fn next(&mut self) -> Option<Endpoint> {
        if let Some(front) = &self.shared.front {
            return Some(front.clone());
        }
        if self.nodes.has_changed().unwrap_or(false) {
            self.nodes.mark_unchanged();
            self.made.clear();
        }
        self.turn += 1;
        let nodes = self.nodes.borrow();
        let index = self.turn.checked_rem(nodes.len())?;
        Some(nodes[index].endpoint.clone())
    }

    /// Returns a client for a request that is no measurement.
    pub(super) fn any(&mut self) -> Option<Client> {
        let endpoint = self.next()?;
        self.client(&endpoint).ok()
    }

    /// Returns the way to the node that tells this URL to clients.
    fn named(&self, url: &str) -> Option<Endpoint> {
        let origin = |url: &str| Some(Url::parse(url).ok()?.origin());
        let wanted = origin(url)?;
        let nodes = self.nodes.borrow();
        let mut nodes = nodes.iter();
        let is_it = |node: &&CanaryNode| {
            node.api_address.starts_with("https://")
                && origin(&node.api_address).as_ref() == Some(&wanted)
        };
        nodes.find(is_it).map(|node| node.endpoint.clone())
    }

    fn client(&mut self, endpoint: &Endpoint) -> Result<Client, ApiError> {
        let key = format!("{} {}", endpoint.address, endpoint.server_name);
        if let Some(client) = self.made.get(&key) {
            return Ok(client.clone());
        }
        let client = if self.is_keeping {
            Client::keeping_connections(endpoint, &self.shared.tls)?
        } else {
            Client::new(endpoint, &self.shared.tls)?
        };
        self.made.insert(key, client.clone());
        Ok(client)
    }

    /// Sends a request once, and once more if it is redirected to a node of the cluster.
    async fn attempt(&mut self, operation: Operation, limit: Duration) -> Try {
        let began = Instant::now();
        let mut errors = Vec::new();
        let Some(mut endpoint) = self.next() else {
            errors.push(ErrorKind::NoNode);
            return Try {
                errors,
                outcome: None,
            };
        };
        for is_redirected in [false, true] {
            let limit = limit.saturating_sub(began.elapsed());
            let sent = match self.client(&endpoint) {
                Ok(client) => self.shared.send_once(&client, operation, limit).await,
                Err(error) => Err(error),
            };
            let error = match sent {
                Ok(outcome) => {
                    let outcome = Some(outcome);
                    return Try { errors, outcome };
                }
                Err(error) => error,
            };
            let kind = ErrorKind::from(&error);
            errors.push(kind);
            if kind == ErrorKind::Denied {
                let outcome = Some(Outcome::Failed);
                return Try { errors, outcome };
            }
            let active = match &error {
                ApiError::Standby { active, .. } if !is_redirected => active.as_deref(),
                _ => None,
            };
            match active.and_then(|active| self.named(active)) {
                Some(active) => endpoint = active,
                None => break,
            }
        }
        Try {
            errors,
            outcome: None,
        }
    }
}

impl Shared {
    /// Sends one request.
    async fn send_once(
        &self,
        client: &Client,
        operation: Operation,
        limit: Duration,
    ) -> Result<Outcome, ApiError> {
        let client = client.clone().with_limit(limit);
        let (Operation::Write(number) | Operation::Read(number)) = operation;
        let key = number.to_string();
        let (path, value) = (self.path(&key), self.value(&key));
        if let Operation::Write(_) = operation {
            client.kv_put(&self.token, self.kv(), &path, &value).await?;
            return Ok(Outcome::Succeeded);
        }
        let read = client.kv_get(&self.token, self.kv(), &path).await?;
        Ok(if read == Some(value) {
            Outcome::Succeeded
        } else {
            Outcome::Stale
        })
    }

    /// Returns the longest time from the choice of a key to its last read.
    fn longest_read(&self) -> Duration {
        self.pace.deadline + Duration::from_secs(1)
    }
}

impl From<&ApiError> for ErrorKind {
    fn from(error: &ApiError) -> Self {
        match error {
            ApiError::Unreachable { reason, .. } => of_connection(reason),
            ApiError::Tls { .. } => Self::Tls,
            ApiError::Standby {
                active: Some(_), ..
            } => Self::Redirect,
            ApiError::Standby { active: None, .. } => Self::NoActive,
            ApiError::Status { status, .. } => match status {
                412 | 429 => Self::Later,
                503 => Self::Sealed,
                400..=499 => Self::Denied,
                _ => Self::Server,
            },
            _ => Self::Malformed,
        }
    }
}

/// Returns the kind of an error of the connection from its words, which the client chose.
fn of_connection(reason: &str) -> ErrorKind {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["no connection within", "not complete after"]) {
        ErrorKind::TimedOut
    } else if has(&["(os error 111)"]) {
        ErrorKind::Refused
    } else if has(&["(os error 101)", "(os error 113)"]) {
        ErrorKind::NoRoute
    } else {
        ErrorKind::Reset
    }
}

/// One of so many requests is a write.
const WRITES_ONE_OF: u32 = 5;

/// The number of tries of Vault's own client.
const DEFAULT_TRIES: u32 = 3;
