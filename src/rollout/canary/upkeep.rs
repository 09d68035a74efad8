//! Work of the canary that is no measurement: reading back, deleting keys, renewing the token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::Shared;
use super::client::{Connections, Operation, send};
use super::keys::Key;
use super::recorder::{Kind, Outcome};
use crate::product::Endpoint;
use crate::product::vault::Client;

/// Deletes old keys and renews the token until the canary is stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut connections = Connections::new(&shared, true);
    let mut renew_at = Instant::now();
    while !shared.is_stopped() {
        if renew_at <= Instant::now() {
            let is_renewed = renew(&shared, &mut connections).await;
            renew_at = Instant::now() + if is_renewed { RENEWAL } else { RENEWAL_RETRY };
        }
        delete_old(&shared, &mut connections).await;
        shared.pause(PAUSE).await;
    }
}

/// Deletes the keys that no client reads any more.
async fn delete_old(shared: &Shared, connections: &mut Connections<'_>) {
    for _ in 0..BATCH {
        let next = shared.keys().next_to_delete(Instant::now());
        let Some((key, is_unchecked)) = next else {
            return;
        };
        if shared.is_stopped() || (is_unchecked && !check_key(shared, connections, key).await) {
            return;
        }
        // Later, if Vault does not answer now.
        if !delete(shared, connections, key).await {
            return;
        }
    }
}

/// Reads `keys` back.
pub(super) async fn read_back(shared: Arc<Shared>, keys: Vec<Key>) {
    in_parallel(&shared, keys, Work::ReadBack).await;
}

/// Deletes all keys that may exist.
pub(super) async fn delete_all(shared: Arc<Shared>) {
    let keys = shared.keys().all();
    in_parallel(&shared, keys, Work::Delete).await;
}

#[derive(Clone, Copy)]
enum Work {
    ReadBack,
    Delete,
}

async fn in_parallel(shared: &Shared, keys: Vec<Key>, work: Work) {
    let keys = Mutex::new(VecDeque::from(keys));
    let next = || {
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.pop_front()
    };
    let workers = (0..WORKERS).map(|_| async {
        let mut connections = Connections::new(shared, true);
        while let Some(key) = next() {
            match work {
                Work::ReadBack => check_key(shared, &mut connections, key).await,
                Work::Delete => delete(shared, &mut connections, key).await,
            };
        }
    });
    join_all(workers).await;
}

/// Reads a key back and records the result. Returns whether there was an answer.
async fn check_key(shared: &Shared, connections: &mut Connections<'_>, key: Key) -> bool {
    let read = Operation::Read(key.number);
    let (outcome, _) = send(shared, connections, Kind::Patient, read, false).await;
    let is_there = match outcome {
        Outcome::Succeeded => true,
        Outcome::Stale => false,
        Outcome::Failed => return false,
    };
    if shared.keys().set_checked(key.number, is_there) {
        shared.recorder().read_back(key.writer, is_there);
    }
    true
}

/// Deletes a key. Returns whether it is gone.
async fn delete(shared: &Shared, connections: &mut Connections<'_>, key: Key) -> bool {
    let Some(client) = connections.any() else {
        return false;
    };
    let path = shared.path(&key.number.to_string());
    let deleted = client.kv_delete(&shared.token, shared.kv(), &path).await;
    if deleted.is_ok() {
        shared.keys().deleted(key.number);
    }
    deleted.is_ok()
}

/// Renews the token. Returns whether Vault did.
async fn renew(shared: &Shared, connections: &mut Connections<'_>) -> bool {
    match connections.any() {
        Some(client) => client.renew_self(&shared.token).await.is_ok(),
        None => false,
    }
}

/// Writes and reads a new key, through the load balancer and at `node`.
pub(super) async fn check(shared: &Shared, number: u64, node: &Endpoint) -> Result<(), String> {
    let front = shared.front.as_ref();
    let ways = [("load-balancer", front), ("node", Some(node))];
    for (name, endpoint) in ways {
        let Some(endpoint) = endpoint else {
            continue;
        };
        let client = Client::new(endpoint, &shared.tls).map_err(|error| error.to_string())?;
        let client = client.with_limit(CHECK_LIMIT);
        let key = format!("check-{number}-{name}");
        let (path, value) = (shared.path(&key), shared.value(&key));
        let (token, kv) = (&shared.token, shared.kv());
        let checked = async {
            client.kv_put(token, kv, &path, &value).await?;
            client.kv_get(token, kv, &path).await
        };
        let read = checked.await.map_err(|error| error.to_string());
        // Best effort: the check is about writing and reading.
        let _ = client.kv_delete(token, kv, &path).await;
        if read? != Some(value) {
            let address = endpoint.address;
            return Err(format!("{address} does not return the value written there"));
        }
    }
    Ok(())
}

/// The pause between two looks for keys to delete.
const PAUSE: Duration = Duration::from_millis(500);

/// The most keys that are deleted between two pauses: twice as many as are written.
const BATCH: usize = 8;

/// The number of keys that are read back or deleted at once.
const WORKERS: usize = 4;

/// The limit of each request of a check.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The time between two renewals of the token, and after one that failed.
const RENEWAL: Duration = Duration::from_secs(3600);
const RENEWAL_RETRY: Duration = Duration::from_secs(60);
