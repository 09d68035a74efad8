//! An engine for keys and values with connections that are kept, and faults on demand.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::product::mock::{Authority, Connection, MockServer, NAME, answer, read_request};

pub const NO_ACTIVE: &str = "local node not active but active cluster node not found";

/// What the server does instead of its work.
#[derive(Clone)]
pub enum Fault {
    Status(u16, &'static str),
    /// 307 to the same path at an address.
    Redirect(String),
    /// Closes the connection.
    Close,
    /// Answers when the client has gone.
    Hang,
    /// Works, and answers late.
    Slow(Duration),
}

#[derive(Default)]
pub struct State {
    pub store: BTreeMap<String, Value>,
    /// The fault of all requests to keys.
    pub all: Option<Fault>,
    /// The fault of the first try of each write.
    pub first_try_of_a_key: Option<Fault>,
    /// Each is the fault of one key, for ever.
    pub for_ever: Vec<Fault>,
    /// So many writes are confirmed and not kept.
    pub lose: u64,
    /// So many writes are confirmed, and another value is kept.
    pub falsify: u64,
    /// The reads that were answered with another value than the written one, or with none.
    pub wrong_reads: u64,
    /// The most requests that were answered at the same time.
    pub most_at_once: usize,
    at_once: usize,
    /// The first body of each key.
    tried: HashMap<String, Value>,
    doomed: HashMap<String, usize>,
    faults: HashMap<usize, u64>,
    handled: u64,
    written: u64,
}

pub struct Fake {
    pub server: MockServer,
    state: Arc<Mutex<State>>,
    /// The node whose keys this one serves.
    shared: Arc<Mutex<Option<Arc<Mutex<State>>>>>,
}

impl Fake {
    pub fn start() -> Self {
        Self::of(&Authority::new())
    }

    pub fn of(authority: &Authority) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared: Arc<Mutex<Option<Arc<Mutex<State>>>>> = Arc::default();
        let (served, other) = (Arc::clone(&state), Arc::clone(&shared));
        let leaf = authority.issue(NAME, 2099);
        let respond = move |first: &str, to: &mut Connection| {
            let mut request = Some(first.to_owned());
            while let Some(text) = request {
                let store = other.lock().unwrap().clone();
                if !serve(&served, store.as_ref().unwrap_or(&served), &text, to) {
                    return;
                }
                request = read_request(to);
            }
        };
        let server = MockServer::start_with(&authority.pem(), &leaf, None, respond);
        Self {
            server,
            state,
            shared,
        }
    }

    /// Lets `other` serve the keys of this node.
    pub fn share_with(&self, other: &Self) {
        *other.shared.lock().unwrap() = Some(Arc::clone(&self.state));
    }

    /// Changes or reads the state.
    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Returns the number of keys that exist.
    pub fn keys(&self) -> usize {
        self.set(|state| state.store.len())
    }

    /// Returns the number of requests to keys.
    pub fn handled(&self) -> u64 {
        self.set(|state| state.handled)
    }

    /// Returns the number of keys that were written, except by checks.
    pub fn written(&self) -> u64 {
        self.set(|state| state.written)
    }

    /// Returns how often a fault of the list occurred, or with 0 the one of all requests.
    pub fn faults(&self, number: usize) -> u64 {
        self.set(|state| state.faults.get(&number).copied().unwrap_or(0))
    }
}

/// Serves a request. Returns whether the connection is kept.
fn serve(own: &Mutex<State>, keys: &Mutex<State>, request: &str, to: &mut Connection) -> bool {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let words: Vec<&str> = head.split(' ').take(2).collect();
    let (method, path) = (words[0], words[1]);
    let Some((kind, key)) = path
        .strip_prefix("/v1/vault-bake-canary/")
        .and_then(|path| path.split_once('/'))
    else {
        answer(to, 204, &[], "");
        return true;
    };
    let body = serde_json::from_str::<Value>(body).map(|body| body["data"].clone());
    let body = body.unwrap_or_default();
    let fault = {
        let mut state = own.lock().unwrap();
        state.handled += 1;
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        state.fault(method, key, &body)
    };
    let is_kept = match fault {
        None => work(keys, (method, kind, key), &body, to),
        Some(Fault::Slow(time)) => {
            wait(time);
            work(keys, (method, kind, key), &body, to)
        }
        Some(fault) => fault.answer(path, to),
    };
    own.lock().unwrap().at_once -= 1;
    is_kept
}

fn wait(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        park_timeout(time.saturating_sub(began.elapsed()));
    }
}

impl State {
    fn fault(&mut self, method: &str, key: &str, body: &Value) -> Option<Fault> {
        if let Some(fault) = self.all.clone() {
            *self.faults.entry(0).or_default() += 1;
            return Some(fault);
        }
        if method != "POST" {
            return None;
        }
        let is_new = self.tried.insert(key.to_owned(), body.clone()).is_none();
        if is_new && self.doomed.len() < self.for_ever.len() {
            self.doomed.insert(key.to_owned(), self.doomed.len());
        }
        if let Some(number) = self.doomed.get(key).copied() {
            *self.faults.entry(number).or_default() += 1;
            return Some(self.for_ever[number].clone());
        }
        self.first_try_of_a_key.clone().filter(|_| is_new)
    }
}

/// Does the work of a node, and answers while the state is locked: a later change of it is later
/// than the answer.
fn work(
    keys: &Mutex<State>,
    (method, kind, key): (&str, &str, &str),
    body: &Value,
    to: &mut Connection,
) -> bool {
    let mut state = keys.lock().unwrap();
    match (method, kind) {
        ("POST", "data") => {
            let is_check = key.contains("/check-");
            state.written += u64::from(!is_check);
            state.tried.insert(key.to_owned(), body.clone());
            if state.lose > 0 {
                state.lose -= 1;
            } else if state.falsify > 0 {
                state.falsify -= 1;
                state.store.insert(key.to_owned(), json!({"value": "old"}));
            } else {
                state.store.insert(key.to_owned(), body.clone());
            }
            answer(to, 200, &[], r#"{"data": {"version": 1}}"#);
        }
        ("GET", "data") => {
            let found = state.store.get(key).cloned();
            state.wrong_reads += u64::from(found.as_ref() != state.tried.get(key));
            match found {
                Some(value) => {
                    let body = json!({"data": {"data": value, "metadata": {"version": 1}}});
                    answer(to, 200, &[], &body.to_string());
                }
                None => answer(to, 404, &[], r#"{"errors": []}"#),
            }
        }
        ("DELETE", "metadata") => {
            state.store.remove(key);
            answer(to, 204, &[], "");
        }
        _ => answer(to, 405, &[], r#"{"errors": ["not in use"]}"#),
    }
    true
}

impl Fault {
    fn answer(&self, path: &str, to: &mut Connection) -> bool {
        match self {
            Self::Status(status, text) => {
                let body = json!({"errors": [text]}).to_string();
                answer(to, *status, &[], &body);
                true
            }
            Self::Redirect(address) => {
                answer(to, 307, &[("location", &format!("{address}{path}"))], "");
                true
            }
            Self::Close => false,
            Self::Hang => {
                let _ = to.read(&mut [0; 1]);
                false
            }
            Self::Slow(_) => true,
        }
    }
}
