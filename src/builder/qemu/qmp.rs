//! A client of QEMU's control connection (QMP).
//!
//! In: the socket of a running QEMU. Out: answers to commands, and the events that QEMU sent by itself. Deliberately
//! knows only the few commands that the builder needs.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::socket;
use crate::builder::EndedBy;

/// What QEMU said by itself that tells why a machine ended.
#[derive(Clone, Default)]
pub(super) struct QmpEvents(Arc<Mutex<Vec<String>>>);

impl QmpEvents {
    fn add(&self, message: &Value) {
        let words = match message["event"].as_str() {
            Some("SHUTDOWN") => format!(
                "shut down ({})",
                message["data"]["reason"]
                    .as_str()
                    .unwrap_or("no reason given")
            ),
            Some("GUEST_PANICKED") => PANICKED.into(),
            Some("WATCHDOG") => "the guest's watchdog fired".into(),
            Some("BLOCK_IO_ERROR") => format!(
                "a disk failed: {}",
                message["data"]["reason"]
                    .as_str()
                    .unwrap_or("no reason given")
            ),
            _ => return,
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < HEARD_LIMIT {
            heard.push(words);
        }
    }

    /// In the order in which it was said.
    pub fn words(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the guest itself did to end the machine, if it did: a later signal to QEMU changes nothing about that.
    pub fn guest_end(&self) -> Option<EndedBy> {
        self.words().iter().find_map(|words| {
            let known = |(said, _): &&(&str, EndedBy)| said == words;
            GUEST_ENDS.iter().find(known).map(|(_, by)| *by)
        })
    }
}

const PANICKED: &str = "the guest's kernel panicked";
/// Of QEMU's reasons to shut down, those that come from the guest.
const GUEST_ENDS: [(&str, EndedBy); 4] = [
    (PANICKED, EndedBy::GuestPanic),
    ("shut down (guest-panic)", EndedBy::GuestPanic),
    ("shut down (guest-shutdown)", EndedBy::GuestShutdown),
    ("shut down (guest-reset)", EndedBy::GuestReset),
];
const HEARD_LIMIT: usize = 100;

/// An open control connection. Events are taken in as they come, also between commands.
pub(super) struct Qmp {
    write: OwnedWriteHalf,
    answers: mpsc::Receiver<Value>,
    heard: QmpEvents,
    reading: JoinHandle<()>,
}

impl Qmp {
    /// Connects to the socket `name` in `folder`, and learns the port of this computer that is forwarded to port 22 of the
    /// guest. QEMU may not be there yet, or end meanwhile.
    pub async fn open(folder: &Path, name: &Path) -> io::Result<(Self, u16)> {
        let mut opened = Self::connect(folder, name).await?;
        let port = opened.ssh_port().await?;
        Ok((opened, port))
    }

    async fn connect(folder: &Path, name: &Path) -> io::Result<Self> {
        let stream = socket::connect(folder, name).await?;
        let (read, write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        if lines.next_line().await?.is_none() {
            return Err(closed());
        }
        let heard = QmpEvents::default();
        let (sender, answers) = mpsc::channel(4);
        let reading = tokio::spawn(read_all(lines, sender, heard.clone()));
        let mut qmp = Self {
            write,
            answers,
            heard,
            reading,
        };
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// What QEMU said by itself so far.
    pub fn events(&self) -> QmpEvents {
        self.heard.clone()
    }

    /// Whether the connection was read to its end.
    pub fn has_read_all(&self) -> bool {
        self.reading.is_finished()
    }

    /// Runs a command and returns its answer.
    pub async fn run(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.write.write_all(line.as_bytes()).await?;
        let mut answer = self.answers.recv().await.ok_or_else(closed)?;
        if let Some(error) = answer.get("error") {
            let words = error["desc"].as_str().unwrap_or("no reason given");
            return Err(io::Error::other(format!("QEMU refused {command}: {words}")));
        }
        Ok(answer["return"].take())
    }

    async fn ssh_port(&mut self) -> io::Result<u16> {
        let arguments = json!({ "command-line": "info usernet" });
        let text = self.run("human-monitor-command", arguments).await?;
        let text = text.as_str().unwrap_or_default();
        forwarded_port(text).ok_or_else(|| {
            io::Error::other(format!("QEMU names no forwarded port: {}", text.trim()))
        })
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read_all(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    answers: mpsc::Sender<Value>,
    heard: QmpEvents,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if message.get("event").is_some() {
            heard.add(&message);
        } else if answers.send(message).await.is_err() {
            return;
        }
    }
}

/// The host's port in a line like `TCP[HOST_FORWARD]  12  127.0.0.1 39423  10.0.2.15  22  0  0`.
fn forwarded_port(text: &str) -> Option<u16> {
    text.lines()
        .find(|line| line.contains("HOST_FORWARD"))?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "QEMU closed its control connection",
    )
}
