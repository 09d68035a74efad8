//! The delays of a cluster, in milliseconds, for the model of `tests/suite/rollout`.
//! `tests/real/consul_model.rs` measures those of Consul with real servers, and fails if one
//! of them is another.

pub const CONSUL_BOOT: u64 = 8_000;
pub const VAULT_BOOT: u64 = 15_000;

/// A new server votes this time after it joined, and up to [`VOTE_SPREAD`] later: autopilot looks
/// at servers each 2 s, and promotes those that were healthy for 10 s at a tick each 10 s.
pub const VOTE: u64 = 10_000;
pub const VOTE_SPREAD: u64 = 13_000;
/// From the request to leave until its answer.
pub const LEAVE: u64 = 8_500;
/// From the request that makes the leader leave until another server leads.
pub const ELECTION: u64 = 3_000;
/// From the end of a killed leader until another server leads.
pub const ELECTION_AFTER_KILL: u64 = 3_500;
/// From the end of a killed server until autopilot removes it, if enough others vote.
pub const CLEANUP: u64 = 13_000;
/// From the first vote of its replacement until autopilot removes a dead server: the same tick.
pub const PRUNE: u64 = 1_000;

/// From the release of the lock until another node has it.
pub const RELEASED: u64 = 13;
/// For this time after a session ended, Consul gives its lock to no other session.
pub const LOCK_DELAY: u64 = 15_000;
/// The machine of the lock's holder died: Consul notices it, and then the lock-delay begins.
pub const MACHINE_DEAD: u64 = 5_900 + LOCK_DELAY;
/// The Vault of the lock's holder was killed: its session ends after twice its TTL of 15 s.
pub const VAULT_KILLED: u64 = 30_040 + LOCK_DELAY;
/// Vault tries to acquire a lock each 5 s.
pub const ACQUIRE: u64 = 5_000;
/// From the lock to the first answer.
pub const TAKEOVER: u64 = 650;
/// A standby looks for the active node each 2.5 s.
pub const RELOOK: u64 = 2_500;
/// The load balancer probes each node each 2 s.
pub const PROBE: u64 = 2_000;
