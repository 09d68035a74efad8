//! A proxy between a store and Azurite that injects faults.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The fault of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The request succeeds, and its response is lost.
    LoseAnswer,
    /// The request succeeds, and the response is another one.
    AnswerInstead(u16),
    /// The request is not forwarded. The response has a status, an error code, and seconds to wait.
    Refuse(u16, &'static str, u64),
    /// Half of the body arrives, and the request fails.
    CutRequest,
    /// The request succeeds, and half of the response arrives.
    CutAnswer,
}

/// Gives each request with this method and this text in its target the fault, once per rule.
pub type Rule = (&'static str, &'static str, Fault);

pub struct Proxy {
    pub port: u16,
    rules: Arc<Mutex<Vec<Rule>>>,
    /// The first lines of all requests.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let proxy = Self {
            port,
            rules: Arc::default(),
            seen: Arc::default(),
        };
        let (rules, seen) = (proxy.rules.clone(), proxy.seen.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server, rules.clone(), seen.clone()));
            }
        });
        proxy
    }

    /// Replaces the rules.
    pub fn rules(&self, rules: &[Rule]) {
        *self.rules.lock().expect("a lock") = rules.to_vec();
        self.seen.lock().expect("a lock").clear();
    }

    /// Returns how many requests with this method came since then.
    pub fn count(&self, method: &str) -> usize {
        let seen = self.seen.lock().expect("a lock");
        seen.iter().filter(|line| line.starts_with(method)).count()
    }

    /// Returns whether every rule was used.
    pub fn all_used(&self) -> bool {
        self.rules.lock().expect("a lock").is_empty()
    }
}

/// Handles one request per connection; the client then opens another one.
async fn serve(
    mut client: TcpStream,
    server: u16,
    rules: Arc<Mutex<Vec<Rule>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let Some((head, mut body, size)) = head(&mut client).await else {
        return;
    };
    let line = head.lines().next().unwrap_or_default().to_owned();
    seen.lock().expect("a lock").push(line.clone());
    let fault = {
        let mut rules = rules.lock().expect("a lock");
        let of = |rule: &Rule| line.starts_with(rule.0) && line.contains(rule.1);
        rules.iter().position(of).map(|place| rules.remove(place).2)
    };
    let wanted = match fault {
        Some(Fault::CutRequest) => size / 2,
        _ => size,
    };
    let mut piece = vec![0; 65536];
    while body.len() < wanted {
        match client.read(&mut piece).await {
            Ok(read) if read > 0 => body.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let answer = match fault {
        Some(Fault::CutRequest) => return,
        Some(Fault::Refuse(status, code, wait)) => refusal(status, code, wait),
        _ => forward(server, &head, &body).await,
    };
    let answer = match fault {
        Some(Fault::LoseAnswer) => return,
        Some(Fault::AnswerInstead(status)) => refusal(status, "InternalError", 0),
        Some(Fault::CutAnswer) => answer[..answer.len() / 2].to_vec(),
        _ => answer,
    };
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
}

/// The head of a request, the part of the body that came with it, and the size of the body in
/// bytes.
async fn head(client: &mut TcpStream) -> Option<(String, Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 65536];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).ok()?;
    let size = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Some((head, body, size.unwrap_or(0)))
}

async fn forward(server: u16, head: &str, body: &[u8]) -> Vec<u8> {
    let (line, rest) = head.split_once("\r\n").expect("a first line");
    let head = format!("{line}\r\nConnection: close\r\n{rest}");
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
    let mut stream = stream.expect("the server");
    stream.write_all(head.as_bytes()).await.expect("to send");
    stream.write_all(body).await.expect("to send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    answer
}

fn refusal(status: u16, code: &str, wait_s: u64) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>refused.</Message></Error>"
    );
    let again = match wait_s {
        0 => String::new(),
        seconds => format!("Retry-After: {seconds}\r\n"),
    };
    format!(
        "HTTP/1.1 {status} So\r\nContent-Type: application/xml\r\nx-ms-error-code: {code}\r\n{again}\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
