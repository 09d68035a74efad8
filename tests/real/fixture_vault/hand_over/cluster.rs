//! Three nodes of Vault on a Consul server, and what a test does with them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Response};
use rustix::process::Signal;
use serde_json::{Value, json};
use vault_bake::event::Events;
use vault_bake::wait::{Interrupt, Poll, Wait};

use super::super::lab::{Lab, Node};
use super::probe::Probe;
use crate::project::Releases;

/// Three unsealed nodes with a secret `secret/x`.
pub struct Cluster {
    lab: Lab,
    client: Client,
    nodes: Vec<tokio::sync::Mutex<Option<Node>>>,
    bases: Vec<String>,
    made: Value,
    token: String,
}

impl Cluster {
    /// Starts nodes of the user's releases, or of the stub.
    pub async fn start(mirror: &Path) -> Self {
        let mut lab = Lab::start(mirror).await;
        if let Some(given) = Releases::given() {
            given.unpack_vault(lab.folder.path()).await;
        }
        let shown = ("enable_response_header_hostname".to_owned(), json!(true));
        lab.extra.extend([shown]);
        lab.cluster_host = "127.0.0.1";
        let client = fresh(&lab);
        let mut nodes = Vec::new();
        for name in ["vault-1", "vault-2", "vault-3"] {
            nodes.push(lab.vault(name).await);
        }
        let request = json!({"secret_shares": 3, "secret_threshold": 2});
        let first = &nodes[0];
        let made = first
            .done(&lab, Method::PUT, "sys/init", "", &request)
            .await;
        let token = made["root_token"].as_str().expect("a token").to_owned();
        for node in &nodes {
            node.unseal(&lab, &made).await;
            let is_first = node.base == first.base;
            node.wait_for_health(&lab, if is_first { 200 } else { 429 })
                .await;
        }
        let kind = json!({"type": "kv"});
        first
            .done(&lab, Method::POST, "sys/mounts/secret", &token, &kind)
            .await;
        let secret = json!({"word": "kept"});
        first
            .done(&lab, Method::PUT, "secret/x", &token, &secret)
            .await;
        let cluster = Self {
            bases: nodes.iter().map(|node| node.base.clone()).collect(),
            nodes: nodes
                .into_iter()
                .map(|node| tokio::sync::Mutex::new(Some(node)))
                .collect(),
            lab,
            client,
            made,
            token,
        };
        cluster.wait_for_members(0, 3).await;
        cluster
    }

    pub fn base(&self, node: usize) -> &str {
        &self.bases[node]
    }

    /// Sends a request with the root token.
    pub async fn request(
        &self,
        node: usize,
        method: Method,
        path: &str,
        must_not_forward: bool,
    ) -> Response {
        self.try_request(node, method, path, must_not_forward)
            .await
            .expect("an answer")
    }

    async fn try_request(
        &self,
        node: usize,
        method: Method,
        path: &str,
        must_not_forward: bool,
    ) -> reqwest::Result<Response> {
        let url = format!("{}/v1/{path}", self.bases[node]);
        let mut request = self
            .client
            .request(method, url)
            .header("x-vault-token", &self.token);
        if must_not_forward {
            request = request.header("x-vault-no-request-forwarding", "1");
        }
        request.send().await
    }

    pub async fn get(&self, node: usize, path: &str) -> (u16, Value) {
        let answer = self.request(node, Method::GET, path, false).await;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn write(&self, node: usize, path: &str) {
        let node = self.nodes[node].lock().await;
        let node = node.as_ref().expect("a node");
        let secret = json!({"word": "written"});
        node.done(&self.lab, Method::PUT, path, &self.token, &secret)
            .await;
    }

    /// Suspends Consul, which then answers nothing.
    pub fn pause_consul(&self) {
        self.lab.signal_consul(Signal::STOP);
    }

    pub fn resume_consul(&self) {
        self.lab.signal_consul(Signal::CONT);
    }

    pub fn probe(&self, node: usize, path: &str, keeps_connection: bool) -> Probe {
        let client = if keeps_connection {
            self.lab.client_builder().build().expect("a client")
        } else {
            fresh(&self.lab)
        };
        Probe::start(
            client,
            format!("{}/v1/{path}", self.bases[node]),
            &self.token,
        )
    }

    pub async fn consul(&self, method: Method, path: &str) -> Value {
        let (client, base) = self.lab.consul_client();
        let answer = client
            .request(method, format!("{base}/{path}"))
            .send()
            .await;
        let body = answer.expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// Returns the addresses and tags of the nodes in Consul's catalog whose check passes.
    pub async fn tags(&self) -> Vec<(String, Vec<String>)> {
        let found = self
            .consul(Method::GET, "health/service/vault?passing")
            .await;
        let instances = found.as_array().expect("a list").iter();
        let tagged = instances.map(|instance| {
            let service = &instance["Service"];
            let tags = service["Tags"].as_array().expect("tags").iter();
            let tags = tags.filter_map(Value::as_str).map(str::to_owned);
            let host = service["Address"].as_str().expect("an address");
            (
                format!("https://{host}:{}", service["Port"]),
                tags.collect(),
            )
        });
        tagged.collect()
    }

    pub fn watch_lock(&self) -> LockWatch {
        let (client, base) = self.lab.consul_client();
        LockWatch::start(client, format!("{base}/kv/vault/core/lock"))
    }

    pub async fn active(&self) -> Option<usize> {
        for node in 0..self.bases.len() {
            if let Ok(answer) = self
                .try_request(node, Method::GET, "sys/health", false)
                .await
                && answer.status() == 200
            {
                return Some(node);
            }
        }
        None
    }

    /// Waits until another node than `old` is active.
    pub async fn wait_for_other(&self, old: usize) -> usize {
        let found = self.until("another active node", Duration::from_secs(30), async || {
            self.active().await.filter(|node| *node != old)
        });
        found.await
    }

    /// Waits until no node is active, and then for one.
    pub async fn wait_for_any(&self, deadline: Duration) {
        let none = async || self.active().await.is_none().then_some(());
        self.until("no active node", Duration::from_secs(5), none)
            .await;
        self.until("an active node", deadline, async || self.active().await)
            .await;
    }

    /// Waits until the active node knows `count` nodes. Returns the time that it took.
    pub async fn wait_for_members(&self, active: usize, count: usize) -> Duration {
        let began = Instant::now();
        self.until(
            &format!("{count} nodes"),
            Duration::from_secs(30),
            async || {
                let (_, status) = self.get(active, "sys/ha-status").await;
                let nodes = status["nodes"].as_array()?;
                (nodes.len() == count).then_some(())
            },
        )
        .await;
        began.elapsed()
    }

    async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl AsyncFn() -> Option<T>,
    ) -> T {
        let pause = Duration::from_millis(50);
        Wait::new(what, deadline)
            .pausing(pause, pause)
            .until(&Events::silent(), &Interrupt::default(), || async {
                match probe().await {
                    Some(value) => Poll::<_, String>::Ready(value),
                    None => Poll::NotYet("not yet".to_owned()),
                }
            })
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops a node by SIGTERM. Returns the time of its end.
    pub async fn stop(&self, node: usize) -> Instant {
        let mut node = self.nodes[node].lock().await;
        let node = node.as_mut().expect("a node");
        node.signal(Signal::TERM);
        let ended = node.running.wait().await.expect("it ends");
        assert!(ended.success(), "{ended}: {:?}", node.running.last_lines());
        Instant::now()
    }

    /// Waits until a node refuses connections. A request that was accepted before may wait longer.
    pub async fn refuses(&self, node: usize) -> Instant {
        let address = self.bases[node].trim_start_matches("https://");
        self.until(
            "a refused connection",
            Duration::from_secs(10),
            async || {
                let connected = tokio::net::TcpStream::connect(address).await;
                connected.is_err().then_some(())
            },
        )
        .await;
        Instant::now()
    }

    pub async fn kill(&self, node: usize) {
        let mut node = self.nodes[node].lock().await;
        node.as_mut().expect("a node").running.kill().await;
    }

    /// Starts a stopped node again. It is sealed.
    pub async fn restart(&self, node: usize) {
        let mut slot = self.nodes[node].lock().await;
        let stopped = slot.take().expect("a node");
        *slot = Some(
            self.lab
                .start_again(&format!("vault-{}", node + 1), &stopped)
                .await,
        );
    }

    pub async fn unseal(&self, node: usize) {
        let node = self.nodes[node].lock().await;
        let node = node.as_ref().expect("a node");
        node.unseal(&self.lab, &self.made).await;
        node.wait_for_health(&self.lab, 429).await;
    }
}

/// Returns a client that makes a connection for each request.
fn fresh(lab: &Lab) -> Client {
    let builder = lab.client_builder().pool_max_idle_per_host(0);
    builder.build().expect("a client")
}

/// Returns the text in a value of Consul.
pub fn decoded(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().expect("base64"));
    String::from_utf8(bytes.expect("base64")).expect("text")
}

type Changes = Arc<Mutex<Vec<(Instant, Option<String>)>>>;

/// The changes of the lock's owner, until the end of the watch.
pub struct LockWatch {
    changes: Changes,
    task: tokio::task::JoinHandle<()>,
}

impl LockWatch {
    fn start(client: Client, url: String) -> Self {
        let changes: Changes = Arc::default();
        let seen = changes.clone();
        // A blocking query answers at each change.
        let task = tokio::spawn(async move {
            let mut index = 0;
            loop {
                let url = format!("{url}?index={index}&wait=10s");
                let Ok(answer) = client.get(url).send().await else {
                    continue;
                };
                let header = answer.headers().get("x-consul-index");
                index = header
                    .and_then(|text| text.to_str().ok()?.parse().ok())
                    .unwrap_or(0_u64);
                let body = answer.bytes().await.unwrap_or_default();
                let entry: Value = serde_json::from_slice(&body).unwrap_or_default();
                let owner = entry[0]["Session"].as_str().map(str::to_owned);
                let mut changes = seen.lock().expect("changes");
                if changes.last().is_none_or(|(_, last)| *last != owner) {
                    changes.push((Instant::now(), owner));
                }
            }
        });
        Self { changes, task }
    }

    /// Returns the end of the ownership that was there at `since`.
    pub fn freed(&self, since: Instant) -> Option<Instant> {
        self.find(since, |_| true)
    }

    /// Returns the beginning of the next ownership.
    pub fn taken(&self, since: Instant) -> Option<Instant> {
        self.find(since, |owner| owner.is_some())
    }

    fn find(&self, since: Instant, is_wanted: impl Fn(Option<&String>) -> bool) -> Option<Instant> {
        let changes = self.changes.lock().expect("changes");
        let mut after = changes.iter().filter(|(at, _)| *at >= since);
        let found = after.find(|(_, owner)| is_wanted(owner.as_ref()));
        found.map(|(at, _)| *at)
    }
}

impl Drop for LockWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
