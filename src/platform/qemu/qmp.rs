//! A client for QEMU's control connection (QMP).
//! Takes a socket; returns replies to commands, and the events that explain the end of a VM.
//! Reads the forwarded ports of user-mode networks from the human monitor, as QMP has no command.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::socket;
use crate::builder::EndCause;

/// The QMP events that explain the end of a VM.
#[derive(Clone, Default)]
pub(crate) struct QmpEvents(Arc<Mutex<Vec<String>>>);

impl QmpEvents {
    fn add(&self, message: &Value) {
        let text = match message["event"].as_str() {
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
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENT_LIMIT {
            events.push(text);
        }
    }

    /// Returns the texts of the events, in order.
    pub fn texts(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how the guest ended the VM, if it did. A later signal to QEMU does not change this.
    pub(crate) fn guest_end(&self) -> Option<EndCause> {
        self.texts().iter().find_map(|text| {
            let is_match = |(event, _): &&(&str, EndCause)| event == text;
            GUEST_ENDS.iter().find(is_match).map(|(_, by)| *by)
        })
    }
}

const PANICKED: &str = "the guest's kernel panicked";
/// The event texts that mean that the guest ended the VM.
const GUEST_ENDS: [(&str, EndCause); 4] = [
    (PANICKED, EndCause::GuestPanic),
    ("shut down (guest-panic)", EndCause::GuestPanic),
    ("shut down (guest-shutdown)", EndCause::GuestShutdown),
    ("shut down (guest-reset)", EndCause::GuestReset),
];
const EVENT_LIMIT: usize = 100;

/// An open control connection. A task collects events also between commands.
pub(crate) struct Qmp {
    write: OwnedWriteHalf,
    replies: mpsc::Receiver<Value>,
    events: QmpEvents,
    reader: JoinHandle<()>,
}

impl Qmp {
    /// Connects to the socket `name` in `folder`. Also returns the host port that is forwarded to
    /// port 22 of the guest. Fails if QEMU has not created the socket yet, or has ended.
    pub(super) async fn open(folder: &Path, name: &Path) -> io::Result<(Self, u16)> {
        let mut qmp = Self::connect(folder, name).await?;
        let port = qmp.ssh_port().await?;
        Ok((qmp, port))
    }

    /// Connects to the socket `name` in `folder`. While another client is connected, this waits.
    pub(crate) async fn connect(folder: &Path, name: &Path) -> io::Result<Self> {
        let stream = socket::connect(folder, name).await?;
        let (read, write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        if lines.next_line().await?.is_none() {
            return Err(closed());
        }
        let events = QmpEvents::default();
        let (sender, replies) = mpsc::channel(4);
        let reader = tokio::spawn(read_all(lines, sender, events.clone()));
        let mut qmp = Self {
            write,
            replies,
            events,
            reader,
        };
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    pub(super) fn events(&self) -> QmpEvents {
        self.events.clone()
    }

    /// Returns whether the connection was read to its end.
    pub(crate) fn is_read_to_end(&self) -> bool {
        self.reader.is_finished()
    }

    /// Runs a command and returns its reply.
    pub(crate) async fn run(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.write.write_all(line.as_bytes()).await?;
        let mut reply = self.replies.recv().await.ok_or_else(closed)?;
        if let Some(error) = reply.get("error") {
            let reason = error["desc"].as_str().unwrap_or("no reason given");
            return Err(io::Error::other(format!(
                "QEMU refused {command}: {reason}"
            )));
        }
        Ok(reply["return"].take())
    }

    /// Runs a command of the human monitor. Its reply is text, and an error is text too.
    pub(crate) async fn run_human(&mut self, command: &str) -> io::Result<String> {
        let arguments = json!({ "command-line": command });
        let text = self.run("human-monitor-command", arguments).await?;
        Ok(text.as_str().unwrap_or_default().trim().to_owned())
    }

    /// Returns the ports of this host that are forwarded to the guest.
    pub(crate) async fn forwards(&mut self) -> io::Result<Vec<Forward>> {
        let text = self.run_human("info usernet").await?;
        Ok(text.lines().filter_map(forward).collect())
    }

    async fn ssh_port(&mut self) -> io::Result<u16> {
        let first = self.forwards().await?.into_iter().next();
        let first = first.ok_or_else(|| io::Error::other("QEMU reports no forwarded port"))?;
        Ok(first.host_port)
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_all(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    replies: mpsc::Sender<Value>,
    events: QmpEvents,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if message.get("event").is_some() {
            events.add(&message);
        } else if replies.send(message).await.is_err() {
            return;
        }
    }
}

/// A port of this host that QEMU forwards to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// The port of 127.0.0.1.
    pub host_port: u16,
    /// The address and port of the guest.
    pub guest: SocketAddrV4,
}

/// Reads a line like `TCP[HOST_FORWARD]  12  127.0.0.1 39423  10.0.2.15  22  0  0`.
fn forward(line: &str) -> Option<Forward> {
    let mut fields = line.split_whitespace();
    if fields.next()? != "TCP[HOST_FORWARD]" {
        return None;
    }
    let host_port = fields.nth(2)?.parse().ok()?;
    let guest = SocketAddrV4::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Forward { host_port, guest })
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "QEMU closed its control connection",
    )
}
