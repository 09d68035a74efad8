//! A server on loopback with scripted replies, and a transport that redirects all hosts to it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vault_bake::azure::{ArmClient, ArmOptions, Auth, AzureTransport, Cloud, CredentialSource};
use vault_bake::event::{Event, Events};
use vault_bake::secret::Secret;
use vault_bake::wait::{Interrupt, TimeScale};

/// Shared, because creating one reads the system's certificates and takes longer than most tests.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder().no_proxy();
    client.pool_max_idle_per_host(0).build().unwrap()
});

/// The limit of a request that gets its answer, however busy the computer is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The limit of a request if a reply may be silent: the others need a part of it on a busy computer.
const SILENCE: Duration = Duration::from_secs(5);

/// The outcome of one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer with status, headers and body.
    Answer(u16, Vec<(String, String)>, String),
    /// The server reads the request and closes the connection.
    Reset,
    /// The server reads the request and sends half of an answer.
    Half,
    /// The server reads the request and sends nothing.
    Silent,
    /// The connection is refused.
    Closed,
}

/// Returns an answer without headers.
pub fn respond(status: u16, body: &Value) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Reply::Answer(status, Vec::new(), body)
}

/// Returns a refusal in ARM's format.
pub fn refuse(status: u16, code: &str) -> Reply {
    respond(
        status,
        &serde_json::json!({ "error": { "code": code, "message": "no" } }),
    )
}

impl Reply {
    /// Adds a header to an answer.
    pub fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

/// A received request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

#[derive(Default)]
struct Script {
    rules: Vec<(String, VecDeque<Reply>)>,
    requests: Vec<ReceivedRequest>,
}

/// The server, and the transport to it.
#[derive(Clone)]
pub struct MockServer {
    port: u16,
    script: Arc<Mutex<Script>>,
    client: reqwest::Client,
    tokens: Arc<AtomicU32>,
}

impl std::fmt::Debug for MockServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockServer")
    }
}

impl MockServer {
    pub async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            script: Arc::default(),
            client: CLIENT.clone(),
            tokens: Arc::default(),
        };
        let served = server.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(client));
            }
        });
        server
    }

    /// Sets the replies to `METHOD end-of-path`, in order. The last one repeats.
    pub fn on(&self, request: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.rules.retain(|(known, _)| known != request);
        script
            .rules
            .push((request.to_owned(), replies.into_iter().collect()));
        drop(script);
        self
    }

    /// Returns all requests so far, except those for tokens.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        let requests = self.all_requests();
        let token = |request: &ReceivedRequest| request.path.ends_with("/token");
        requests.into_iter().filter(|one| !token(one)).collect()
    }

    /// Returns all requests so far, with those for tokens.
    pub fn all_requests(&self) -> Vec<ReceivedRequest> {
        self.script.lock().unwrap().requests.clone()
    }

    /// Returns the number of requests with this method, except those for tokens.
    pub fn count(&self, method: &str) -> usize {
        self.requests()
            .iter()
            .filter(|one| one.method == method)
            .count()
    }

    fn reply(&self, request: ReceivedRequest) -> Reply {
        let mut script = self.script.lock().unwrap();
        let (method, path) = (request.method.clone(), request.path.clone());
        script.requests.push(request);
        let fits = |rule: &str| {
            let (wanted, end) = rule.split_once(' ').unwrap();
            wanted == method && path.ends_with(end)
        };
        if let Some((_, replies)) = script.rules.iter_mut().find(|(rule, _)| fits(rule)) {
            let last = replies.len() == 1;
            return if last {
                replies[0].clone()
            } else {
                replies.pop_front().unwrap()
            };
        }
        if path.ends_with("/oauth2/v2.0/token") {
            let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
            let token = serde_json::json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": format!("token-number-{number}") });
            return respond(200, &token);
        }
        refuse(418, "NotInTheScript")
    }

    async fn serve(self, mut client: TcpStream) {
        let Some(request) = read(&mut client).await else {
            return;
        };
        match self.reply(request) {
            Reply::Reset | Reply::Closed => {}
            Reply::Silent => std::future::pending::<()>().await,
            Reply::Half => {
                let _ = client
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                    .await;
            }
            Reply::Answer(status, headers, body) => {
                let mut answer = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
                    body.len()
                );
                for (name, value) in headers {
                    answer.extend([&name, ": ", &value, "\r\n"]);
                }
                let _ = client
                    .write_all(format!("{answer}\r\n{body}").as_bytes())
                    .await;
            }
        }
    }

    /// Returns whether the next reply refuses the connection, and consumes that reply.
    fn is_closed(&self, method: &str, path: &str) -> bool {
        let mut script = self.script.lock().unwrap();
        let fits = |rule: &str| {
            let (wanted, end) = rule.split_once(' ').unwrap();
            wanted == method && path.ends_with(end)
        };
        let rule = script.rules.iter_mut().find(|(rule, _)| fits(rule));
        match rule {
            Some((_, replies)) if matches!(replies[0], Reply::Closed) => {
                if replies.len() > 1 {
                    replies.pop_front();
                }
                true
            }
            _ => false,
        }
    }

    pub fn transport(&self) -> AzureTransport {
        AzureTransport {
            http_client: Some(Arc::new(self.clone())),
            now,
            time_scale: TimeScale::scaled(0.001),
        }
    }

    pub fn auth(&self, source: CredentialSource) -> Auth {
        Auth {
            source,
            cloud: Cloud::named("public").unwrap(),
            transport: self.transport(),
        }
    }

    /// Returns an ARM client of this server.
    pub fn client(&self) -> ArmClient {
        self.client_with_interrupt(&Interrupt::default())
    }

    pub fn client_with_interrupt(&self, interrupt: &Interrupt) -> ArmClient {
        self.client_with_time_scale(TimeScale::scaled(0.001), interrupt)
    }

    /// Returns a client for tables with many cases, which a busy computer may delay.
    /// Only a reply that never comes needs the limit of a request, so others have a long one.
    pub fn patient_client(&self) -> ArmClient {
        let script = self.script.lock().unwrap();
        let mut replies = script.rules.iter().flat_map(|(_, replies)| replies);
        let is_silent = replies.any(|reply| matches!(reply, Reply::Silent));
        drop(script);
        let limit = if is_silent { SILENCE } else { PATIENCE };
        self.create_client(TimeScale::scaled(0.01), limit, &Interrupt::default())
    }

    pub fn client_with_time_scale(&self, pace: TimeScale, interrupt: &Interrupt) -> ArmClient {
        self.create_client(pace, PATIENCE, interrupt)
    }

    fn create_client(
        &self,
        pace: TimeScale,
        request_timeout: Duration,
        interrupt: &Interrupt,
    ) -> ArmClient {
        let mut auth = self.auth(application());
        auth.transport.time_scale = pace;
        let options = ArmOptions {
            auth,
            subscription: String::from("s1"),
            run: String::from("0198-run"),
            request_timeout,
        };
        ArmClient::new(options, &Events::new(|_: &Event| {}), interrupt).unwrap()
    }
}

/// A credential source whose password tests search for in errors.
pub fn application() -> CredentialSource {
    CredentialSource::ClientSecret {
        tenant: String::from("t1"),
        client: String::from("c1"),
        secret: Secret::new("hush-hush"),
    }
}

pub fn now() -> Timestamp {
    "2026-11-23T00:00:00Z".parse().unwrap()
}

#[async_trait::async_trait]
impl HttpClient for MockServer {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut there = Request::new(request.url().clone(), request.method());
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let scheme = request.url().scheme().to_owned();
        *there.headers_mut() = request.headers().clone();
        *there.body_mut() = request.body().clone();
        there.insert_header("x-was-host", format!("{scheme}://{host}"));
        let closed = self.is_closed(request.method().as_str(), request.url().path());
        let url = there.url_mut();
        url.set_scheme("http").unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        // Port 9 (discard) is closed.
        url.set_port(Some(if closed { 9 } else { self.port }))
            .unwrap();
        self.client.execute_request(&there).await
    }
}

async fn read(client: &mut TcpStream) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = ReceivedRequest {
        method,
        host: String::new(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
        at: Instant::now(),
    };
    request.host = request.header("x-was-host").to_owned();
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}
