//! One client: its connections, its tries, and when it sends.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Url;

use super::recorder::{Ended, Kind, Outcome};
use super::{Shared, keys::Key};
use crate::product::vault::Client;
use crate::product::{ApiError, Endpoint, TlsMaterial};
use crate::rollout::figures::ErrorKind;
use crate::wait::pause_for;

/// Runs all clients until the canary is stopped.
pub(super) async fn run_all(shared: &Shared) {
    let all = Kind::ALL.map(|kind| (0..shared.pace.clients).map(move |number| (kind, number)));
    // All connections are prepared before the first request, which would have to wait.
    let prepared: Vec<_> = all
        .into_iter()
        .flatten()
        .map(|(kind, number)| {
            let connections = Connections::new(shared, number.is_multiple_of(2));
            let connections = if connections.is_keeping {
                connections.with_own()
            } else {
                connections
            };
            (kind, number, connections)
        })
        .collect();
    let clients = prepared.into_iter();
    let clients = clients.map(|(kind, number, connections)| run(shared, kind, number, connections));
    join_all(clients).await;
}

/// Sends requests until the canary is stopped.
async fn run(shared: &Shared, kind: Kind, number: u32, mut connections: Connections<'_>) {
    let pace = shared.pace;
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
        let operation = next_operation(shared, (number + turn).is_multiple_of(WRITES_ONE_OF));
        request(shared, &mut connections, kind, operation).await;
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

/// The way to a server, with and without kept connections.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) endpoint: Endpoint,
    /// A connection for each request.
    pub(super) fresh: Client,
    /// Connections that clients share.
    kept: Client,
}

impl Way {
    /// Prepares both clients, which takes a processor for tens of milliseconds.
    pub(super) fn new(endpoint: Endpoint, tls: &TlsMaterial) -> Result<Self, ApiError> {
        Ok(Self {
            fresh: Client::new(&endpoint, tls)?,
            kept: Client::keeping_connections(&endpoint, tls)?,
            endpoint,
        })
    }

    pub(super) fn leads_to(&self, other: &Endpoint) -> bool {
        let own = &self.endpoint;
        (own.address, &own.server_name) == (other.address, &other.server_name)
    }
}

/// The way to a node, and the origin of the URL that it tells clients.
pub(super) struct NodeWay {
    pub(super) origin: Option<String>,
    pub(super) way: Way,
}

/// Returns the scheme, host and port of a URL. Tokens are sent with TLS only.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    (url.scheme() == "https").then(|| url.origin().ascii_serialization())
}

/// The connections of one client, to the load balancer or to each node.
pub(super) struct Connections<'a> {
    shared: &'a Shared,
    is_keeping: bool,
    /// A client for the load balancer whose connection no other client uses.
    own: Option<Client>,
    turn: usize,
}

impl<'a> Connections<'a> {
    pub(super) fn new(shared: &'a Shared, is_keeping: bool) -> Self {
        Self {
            shared,
            is_keeping,
            own: None,
            turn: rand::random_range(0..1000),
        }
    }

    /// Gives it a connection to the load balancer that no other client uses.
    fn with_own(mut self) -> Self {
        if let Some(front) = &self.shared.front {
            let own = Client::keeping_connections(&front.endpoint, &self.shared.tls);
            // It was prepared from the same values before.
            self.own = own.ok();
        }
        self
    }

    fn client(&self, way: &Way) -> Client {
        let client = if self.is_keeping {
            &way.kept
        } else {
            &way.fresh
        };
        client.clone()
    }

    /// Returns the client of the next try.
    pub(super) fn next(&mut self) -> Option<Client> {
        if let Some(front) = &self.shared.front {
            let own = self.own.clone();
            return own.or_else(|| Some(self.client(front)));
        }
        self.turn += 1;
        let nodes = self.shared.nodes.borrow();
        let index = self.turn.checked_rem(nodes.len())?;
        Some(self.client(&nodes[index].way))
    }

    /// Returns a client of the node that tells this URL to clients.
    fn named(&self, url: &str) -> Option<Client> {
        let wanted = origin(url)?;
        let nodes = self.shared.nodes.borrow();
        let mut nodes = nodes.iter();
        let found = nodes.find(|node| node.origin.as_ref() == Some(&wanted))?;
        Some(self.client(&found.way))
    }

    /// Sends a request once, and once more if it is redirected to a node of the cluster.
    async fn attempt(&mut self, operation: Operation, limit: Duration) -> Try {
        let began = Instant::now();
        let mut errors = Vec::new();
        let Some(mut client) = self.next() else {
            errors.push(ErrorKind::NoNode);
            return Try {
                errors,
                outcome: None,
            };
        };
        for is_redirected in [false, true] {
            let limit = limit.saturating_sub(began.elapsed());
            let error = match self.shared.send_once(client, operation, limit).await {
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
                Some(active) => client = active,
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
        client: Client,
        operation: Operation,
        limit: Duration,
    ) -> Result<Outcome, ApiError> {
        let client = client.with_limit(limit);
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
