//! A service on loopback that answers as it was told, and a transport that takes every host there.

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

/// Making one reads the machine's certificates, which takes longer than most tests.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder().no_proxy();
    client.pool_max_idle_per_host(0).build().unwrap()
});

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This answer.
    Say(u16, Vec<(String, String)>, String),
    /// The request is read, and the connection ends.
    Reset,
    /// The request is read, and half of an answer comes.
    Half,
    /// The request is read, and nothing comes.
    Silent,
    /// There is no connection.
    Closed,
}

/// An answer without headers.
pub fn say(status: u16, body: &Value) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Reply::Say(status, Vec::new(), body)
}

/// A refusal.
pub fn refuse(status: u16, code: &str) -> Reply {
    say(
        status,
        &serde_json::json!({ "error": { "code": code, "message": "no" } }),
    )
}

impl Reply {
    /// The same with a header.
    pub fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Say(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Say(status, headers, body)
            }
            other => other,
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Heard {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

#[derive(Default)]
struct Script {
    rules: Vec<(String, VecDeque<Reply>)>,
    heard: Vec<Heard>,
}

/// The service, and the transport to it.
#[derive(Clone)]
pub struct Play {
    port: u16,
    script: Arc<Mutex<Script>>,
    client: reqwest::Client,
    tokens: Arc<AtomicU32>,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Play")
    }
}

impl Play {
    pub async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let play = Self {
            port: listener.local_addr().unwrap().port(),
            script: Arc::default(),
            client: CLIENT.clone(),
            tokens: Arc::default(),
        };
        let served = play.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(client));
            }
        });
        play
    }

    /// What `METHOD end-of-path` is told, one after the other; the last one again and again.
    pub fn on(&self, request: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.rules.retain(|(known, _)| known != request);
        script
            .rules
            .push((request.to_owned(), replies.into_iter().collect()));
        drop(script);
        self
    }

    /// All requests so far but those for tokens.
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.all();
        let token = |heard: &Heard| heard.path.ends_with("/token");
        heard.into_iter().filter(|one| !token(one)).collect()
    }

    pub fn all(&self) -> Vec<Heard> {
        self.script.lock().unwrap().heard.clone()
    }

    /// How many of this method there were.
    pub fn count(&self, method: &str) -> usize {
        self.heard()
            .iter()
            .filter(|one| one.method == method)
            .count()
    }

    fn reply(&self, heard: Heard) -> Reply {
        let mut script = self.script.lock().unwrap();
        let (method, path) = (heard.method.clone(), heard.path.clone());
        script.heard.push(heard);
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
            return say(200, &token);
        }
        refuse(418, "NotInTheScript")
    }

    async fn serve(self, mut client: TcpStream) {
        let Some(heard) = read(&mut client).await else {
            return;
        };
        match self.reply(heard) {
            Reply::Reset | Reply::Closed => {}
            Reply::Silent => std::future::pending::<()>().await,
            Reply::Half => {
                let _ = client
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                    .await;
            }
            Reply::Say(status, headers, body) => {
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

    /// Whether the next reply to this is that there is no connection; uses it up.
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

    pub fn wire(&self) -> AzureTransport {
        AzureTransport {
            transport: Some(Arc::new(self.clone())),
            now,
            pace: TimeScale::scaled(0.001),
        }
    }

    pub fn who(&self, source: CredentialSource) -> Auth {
        Auth {
            source,
            cloud: Cloud::named("public").unwrap(),
            wire: self.wire(),
        }
    }

    /// A door to it, and what interrupts it.
    pub fn door(&self) -> ArmClient {
        self.door_until(&Interrupt::default())
    }

    pub fn door_until(&self, interrupt: &Interrupt) -> ArmClient {
        self.door_at(TimeScale::scaled(0.001), interrupt)
    }

    /// One that waits long enough for an answer that a machine with other work gives it in time.
    pub fn patient_door(&self) -> ArmClient {
        let interrupt = Interrupt::default();
        self.door_with(TimeScale::scaled(0.005), Duration::from_secs(1), &interrupt)
    }

    pub fn door_at(&self, pace: TimeScale, interrupt: &Interrupt) -> ArmClient {
        self.door_with(pace, Duration::from_millis(300), interrupt)
    }

    fn door_with(
        &self,
        pace: TimeScale,
        request_timeout: Duration,
        interrupt: &Interrupt,
    ) -> ArmClient {
        let mut who = self.who(application());
        who.wire.pace = pace;
        let settings = ArmOptions {
            who,
            subscription: String::from("s1"),
            run: String::from("0198-run"),
            request_timeout,
        };
        ArmClient::new(settings, &Events::new(|_: &Event| {}), interrupt).unwrap()
    }
}

/// The password is looked for in errors.
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
impl HttpClient for Play {
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
        // Nothing listens at the port of discarding.
        url.set_port(Some(if closed { 9 } else { self.port }))
            .unwrap();
        self.client.execute_request(&there).await
    }
}

async fn read(client: &mut TcpStream) -> Option<Heard> {
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
    let mut heard = Heard {
        method,
        host: String::new(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
        at: Instant::now(),
    };
    heard.host = heard.header("x-was-host").to_owned();
    let length = heard.header("content-length").parse().unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    heard.body = String::from_utf8_lossy(&body).into_owned();
    Some(heard)
}
