//! The connection as its own thread sees it: never blocked for long, cancelled at any time, and heard of at intervals.
//!
//! In: an authenticated `ssh2` session. Out: [`Link::retry`], which turns its "would block" into a wait for the socket.
//! A peer that answers nothing, not even keepalives, for [`Patience::silence`] counts as dead.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, ErrorCode};

/// How long a peer is put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a TCP connection.
    pub tcp: Duration,
    /// For the first byte of the server, at the first try; later tries wait longer, up to ten times this.
    pub banner: Duration,
    /// From the banner to the end of the login.
    pub login: Duration,
    /// Without any sign of life.
    pub silence: Duration,
    /// For an upload to take another byte.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(5),
            banner: Duration::from_millis(1500),
            login: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            stall: Duration::from_secs(180),
        }
    }
}

/// The wish that a piece of work end. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when the returned value is dropped.
    pub(super) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

pub(super) struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Why a piece of work did not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection broke; how it showed.
    Broken(String),
    /// Time is up.
    Deadline,
    /// Nobody wants it any more.
    Cancelled,
    /// It gave more than is taken.
    TooMuch,
}

impl From<ssh2::Error> for Stop {
    fn from(error: ssh2::Error) -> Self {
        Self::Broken(error.message().to_owned())
    }
}

/// Until when a piece of work may take.
#[derive(Clone, Copy)]
pub(super) struct Until<'a> {
    pub(super) deadline: Instant,
    pub(super) cancel: &'a Cancel,
}

/// Work for the session's thread.
pub(super) type Job = Box<dyn FnOnce(&mut Link) + Send>;

/// The session and its socket.
pub(super) struct Link {
    pub(super) ssh: ssh2::Session,
    socket: TcpStream,
    heard: Instant,
    kept_alive: Instant,
    /// How often it was asked for a sign of life since the last one.
    unanswered: u32,
    pub(super) patience: Patience,
}

/// Asked less often than this, nobody counts as silent: it may be we who stood still, as on a computer that was asleep.
const ASKED: u32 = 3;

/// The longest that the thread waits before it looks whether it was cancelled.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// libssh2's way to say that it would block.
const EAGAIN: ErrorCode = ErrorCode::Session(-37);

impl Link {
    /// Takes over a session on `socket` that does not block.
    pub(super) fn new(ssh: ssh2::Session, socket: TcpStream, patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            ssh,
            socket,
            heard: now,
            kept_alive: now,
            unanswered: 0,
            patience,
        }
    }

    /// Does jobs until nobody can send one any more, then closes the connection.
    pub(super) fn serve(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.keepalive_every()) {
                Ok(job) => {
                    // Nobody listened while there was nothing to do.
                    self.heard = Instant::now();
                    self.unanswered = 0;
                    job(&mut self);
                }
                Err(RecvTimeoutError::Timeout) => self.keep_alive(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The peer may be gone already, and closing the socket says the same.
        let _ = self
            .ssh
            .disconnect(Some(ssh2::DisconnectCode::ByApplication), "done", None);
    }

    /// Calls `operation` until it neither blocks nor fails. It must ask for the same each time.
    pub(super) fn retry<T>(
        &mut self,
        until: Until<'_>,
        mut operation: impl FnMut(&mut ssh2::Session) -> Result<T, ssh2::Error>,
    ) -> Result<T, Stop> {
        loop {
            match operation(&mut self.ssh) {
                Ok(value) => return Ok(value),
                Err(error) if error.code() == EAGAIN => self.pause(until)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a packet is half sent: until it is gone nothing but the same operation may be tried.
    pub(super) fn half_sent(&self) -> bool {
        matches!(
            self.ssh.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        )
    }

    /// Waits a little for the socket, and looks whether to go on at all.
    pub(super) fn pause(&mut self, until: Until<'_>) -> Result<(), Stop> {
        if until.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        if Instant::now() >= until.deadline {
            return Err(Stop::Deadline);
        }
        // Right before the look at the socket: an answer that comes between two looks is taken by the operation, unseen by us.
        if self.kept_alive.elapsed() >= self.keepalive_every() {
            self.keep_alive();
        }
        let wanted = if self.half_sent() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        self.poll(wanted, &LOOK)?;
        if wanted == PollFlags::OUT {
            self.poll(PollFlags::IN, &Timespec::default())?;
        }
        if self.unanswered >= ASKED && self.heard.elapsed() > self.patience.silence {
            return Err(Stop::Broken(format!(
                "nothing was heard for {} s",
                self.patience.silence.as_secs()
            )));
        }
        Ok(())
    }

    fn poll(&mut self, wanted: PollFlags, at_most: &Timespec) -> Result<(), Stop> {
        let mut sockets = [PollFd::new(&self.socket, wanted)];
        match poll(&mut sockets, Some(at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
        if sockets[0].revents().contains(PollFlags::IN) {
            self.heard = Instant::now();
            self.unanswered = 0;
        }
        Ok(())
    }

    fn keep_alive(&mut self) {
        self.kept_alive = Instant::now();
        self.unanswered = self.unanswered.saturating_add(1);
        // A packet that is half sent asks already.
        if self.half_sent() {
            return;
        }
        // A peer that cannot be written to shows in the next piece of work.
        let _ = self.ssh.keepalive_send();
    }

    fn keepalive_every(&self) -> Duration {
        (self.patience.silence / 4).clamp(Duration::from_millis(250), Duration::from_secs(10))
    }
}
