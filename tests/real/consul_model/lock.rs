//! A lock by session, as Vault has it: which end of its holder frees it, and when.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use testing::delay;

use super::cluster::{Cluster, pass};
use super::rows::election;
use crate::fixture_vault::hand_over::figures::Figures;
use crate::products::servers::Requests;

/// The time to live of Vault's sessions, in seconds.
const TTL: u64 = 15;

/// A key that one session holds, and another one waits for.
struct Lock {
    key: &'static str,
    holder: Requests,
    session: String,
    contender: Requests,
    waiting: String,
}

async fn session(agent: &Requests, ttl: Option<u64>) -> String {
    // The checks and the lock-delay are Consul's defaults, as with Vault.
    let mut wanted = json!({"Name": "Vault Lock"});
    if let Some(ttl) = ttl {
        wanted["TTL"] = json!(format!("{ttl}s"));
    }
    let made = agent.send(Method::PUT, "session/create", wanted).await;
    let made = made.expect("a session");
    made["ID"].as_str().expect("an id").to_owned()
}

impl Lock {
    /// The holder's session has the time to live of Vault's, or none.
    async fn held(
        key: &'static str,
        holder: Requests,
        contender: Requests,
        ttl: Option<u64>,
    ) -> Self {
        let lock = Self {
            key,
            session: session(&holder, ttl).await,
            waiting: session(&contender, None).await,
            holder,
            contender,
        };
        let acquired = lock.acquire(&lock.holder, &lock.session).await;
        assert_eq!(acquired, Ok(true), "{key}");
        let acquired = lock.acquire(&lock.contender, &lock.waiting).await;
        assert_eq!(acquired, Ok(false), "{key}");
        lock
    }

    async fn acquire(&self, agent: &Requests, session: &str) -> Result<bool, String> {
        let path = format!("kv/{}?acquire={session}", self.key);
        let answer = agent.send(Method::PUT, &path, json!(1)).await?;
        Ok(answer == json!(true))
    }

    async fn put(&self, path: &str) -> Instant {
        let began = Instant::now();
        let done = self.holder.send(Method::PUT, path, json!(1)).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"));
        began
    }

    /// Waits until the contender has the lock. Returns the times when it was free and taken.
    async fn taken(&self) -> (Instant, Instant) {
        let mut index = 0;
        loop {
            match self.contender.changed(self.key, index).await {
                Ok((_, key)) if key[0]["Session"].is_null() => break,
                Ok((changed, _)) => index = changed,
                Err(_) => pass(0.1).await,
            }
        }
        let freed = Instant::now();
        while self.acquire(&self.contender, &self.waiting).await != Ok(true) {
            pass(0.05).await;
        }
        (freed, Instant::now())
    }
}

async fn released(lock: Lock, figures: &mut Figures) {
    let release = async {
        // The contender waits by now.
        pass(0.5).await;
        let path = format!("kv/{}?release={}", lock.key, lock.session);
        lock.put(&path).await
    };
    let (began, (_, taken)) = tokio::join!(release, lock.taken());
    let bounds = (0.013, 1.5);
    let row = "lock released: taken over after";
    figures.compare(row, delay::RELEASED, taken - began, bounds);
}

/// Returns the times from the end of the session until the lock is free, and taken over.
async fn destroyed(lock: Lock) -> (Duration, Duration) {
    let destroy = async {
        pass(0.5).await;
        lock.put(&format!("session/destroy/{}", lock.session)).await
    };
    let (began, (freed, taken)) = tokio::join!(destroy, lock.taken());
    (freed - began, taken - began)
}

/// Returns the time from the last renewal until the lock is taken over.
async fn silent(lock: Lock) -> (Duration, Duration) {
    pass(1.0).await;
    let renew = format!("session/renew/{}", lock.session);
    let began = lock.put(&renew).await;
    let (freed, taken) = lock.taken().await;
    (freed - began, taken - began)
}

fn compare_destroyed(figures: &mut Figures, (freed, taken): (Duration, Duration)) {
    figures.add("session destroyed: lock free after", freed, 0.0..=1.5);
    let row = "session destroyed: taken over after";
    figures.compare(row, delay::LOCK_DELAY, taken, (0.05, 3.0));
}

/// The rows that need half a minute: also a lock-delay during which Consul's leader is killed.
pub async fn short(cluster: &mut Cluster, figures: &mut Figures) {
    let leader = cluster.leader().await;
    let others: Vec<usize> = cluster.running().filter(|one| *one != leader).collect();
    let agents = || {
        let [holder, contender] = [others[0], others[1]];
        let requests = |index| cluster.servers.requests(index);
        (requests(holder), requests(contender))
    };
    let (holder, contender) = agents();
    let lock = Lock::held("released", holder, contender, Some(TTL)).await;
    released(lock, figures).await;
    let (holder, contender) = agents();
    let lock = Lock::held("destroyed", holder, contender, Some(TTL)).await;
    let kill = async {
        pass(2.0).await;
        election(cluster, leader, figures).await;
    };
    let (ended, ()) = tokio::join!(destroyed(lock), kill);
    compare_destroyed(figures, ended);
}

/// All rows, side by side: the holders are on other agents than the contender.
pub async fn all(cluster: &mut Cluster, figures: &mut Figures) {
    let [machine, alive] = ["vault-1", "vault-2"].map(|name| cluster.servers.join_client(name));
    for name in ["vault-1", "vault-2"] {
        super::cluster::poll(&format!("{name} in gossip"), async || {
            let view = cluster.view().await?;
            let is_there = view.members.contains_key(name);
            is_there.then_some(()).ok_or_else(|| "not there".to_owned())
        })
        .await;
    }
    // The catalog has the node a moment later.
    pass(3.0).await;
    let requests = |index| cluster.servers.requests(index);
    let contender = requests(0);
    let held = async |key, holder, ttl| Lock::held(key, holder, contender.clone(), ttl).await;
    let release = held("released", requests(alive), Some(TTL)).await;
    let destroy = held("destroyed", requests(alive), Some(TTL)).await;
    let silence = held("silent", requests(alive), Some(TTL)).await;
    // A session without a TTL: it ends with its node alone.
    let dead = held("dead", requests(machine), None).await;
    released(release, figures).await;
    let kill = async {
        pass(0.5).await;
        let began = Instant::now();
        cluster.servers.kill(machine).await;
        began
    };
    let (ended, (expired, late), began, (freed, taken)) =
        tokio::join!(destroyed(destroy), silent(silence), kill, dead.taken());
    compare_destroyed(figures, ended);
    let row = "agent killed as with its machine: lock free after";
    let notice = delay::MACHINE_DEAD - delay::LOCK_DELAY;
    figures.compare(row, notice, freed - began, (2.0, 8.0));
    let row = "agent killed as with its machine: taken over after";
    figures.compare(row, delay::MACHINE_DEAD, taken - began, (2.0, 8.0));
    let row = "holder silent: lock free after";
    let end = delay::VAULT_KILLED - delay::LOCK_DELAY;
    figures.compare(row, end, expired, (0.1, 3.0));
    let row = "holder silent: taken over after";
    figures.compare(row, delay::VAULT_KILLED, late, (0.1, 5.0));
    let twice = Duration::from_secs(2 * TTL);
    assert!(expired >= twice, "a session ends after twice its TTL");
}
