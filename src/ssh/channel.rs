//! Drives an authenticated `ssh2` session on the session's thread.
//! [`Link::retry`] waits for the socket when `ssh2` would block, and stops at once when cancelled.
//! A peer that sends nothing for [`Patience::silence`], not even keepalives, counts as dead.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, ErrorCode};

/// The time limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// The limit for the TCP connection.
    pub tcp: Duration,
    /// The limit for the server's first byte at the first try. Later tries get up to ten times it.
    pub banner: Duration,
    /// The limit from the banner to the end of the login.
    pub login: Duration,
    /// The limit without any data from the peer.
    pub silence: Duration,
    /// The limit for an upload without progress.
    pub stall: Duration,
}

impl Default for ConnectionTimeouts {
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

/// A request to stop a job. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns a guard that sets the request when it is dropped.
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

/// The reason why a job stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection broke, with the reason.
    Broken(String),
    Deadline,
    Cancelled,
    /// The output exceeded its limit.
    OutputLimit,
}

impl From<ssh2::Error> for Stop {
    fn from(error: ssh2::Error) -> Self {
        Self::Broken(error.message().to_owned())
    }
}

/// The end of a job: at a deadline, or when cancelled.
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
    last_received: Instant,
    last_keepalive: Instant,
    /// The number of keepalives since the last received data.
    unanswered: u32,
    pub(super) timeouts: ConnectionTimeouts,
}

/// A peer counts as silent only after this many keepalives.
/// After a suspend of this computer, the clock alone would suggest silence.
const MIN_UNANSWERED: u32 = 3;

/// The interval at which the thread checks for cancellation.
const POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// libssh2's error code for an operation that would block.
pub(super) const EAGAIN: ErrorCode = ErrorCode::Session(-37);

impl Link {
    /// Drives the session `ssh` on the non-blocking `socket`.
    pub(super) fn new(ssh: ssh2::Session, socket: TcpStream, timeouts: ConnectionTimeouts) -> Self {
        let now = Instant::now();
        Self {
            ssh,
            socket,
            last_received: now,
            last_keepalive: now,
            unanswered: 0,
            timeouts,
        }
    }

    /// Runs jobs until the session is dropped, then closes the connection.
    pub(super) fn serve(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(self.keepalive_interval()) {
                Ok(job) => {
                    // Between jobs nothing is read from the socket.
                    self.last_received = Instant::now();
                    self.unanswered = 0;
                    job(&mut self);
                }
                Err(RecvTimeoutError::Timeout) => self.keep_alive(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The peer may be gone. Closing the socket has the same effect.
        let _ = self
            .ssh
            .disconnect(Some(ssh2::DisconnectCode::ByApplication), "done", None);
    }

    /// Calls `operation` until it does not block. Each call must request the same.
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

    /// Whether a packet is half sent. Until it is sent, only the same operation may be called.
    pub(super) fn half_sent(&self) -> bool {
        matches!(
            self.ssh.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        )
    }

    /// Waits briefly for the socket. Fails at the deadline, if cancelled, or if the peer is silent.
    pub(super) fn pause(&mut self, until: Until<'_>) -> Result<(), Stop> {
        if until.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        if Instant::now() >= until.deadline {
            return Err(Stop::Deadline);
        }
        // Sent right before the poll; otherwise the operation may read the answer first.
        if self.last_keepalive.elapsed() >= self.keepalive_interval() {
            self.keep_alive();
        }
        let direction = if self.half_sent() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        self.poll(direction, &POLL_INTERVAL)?;
        if direction == PollFlags::OUT {
            self.poll(PollFlags::IN, &Timespec::default())?;
        }
        if self.unanswered >= MIN_UNANSWERED && self.last_received.elapsed() > self.timeouts.silence
        {
            return Err(Stop::Broken(format!(
                "no data received for {} s",
                self.timeouts.silence.as_secs()
            )));
        }
        Ok(())
    }

    fn poll(&mut self, direction: PollFlags, timeout: &Timespec) -> Result<(), Stop> {
        let mut sockets = [PollFd::new(&self.socket, direction)];
        match poll(&mut sockets, Some(timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Stop::Broken(error.to_string())),
        }
        if sockets[0].revents().contains(PollFlags::IN) {
            self.last_received = Instant::now();
            self.unanswered = 0;
        }
        Ok(())
    }

    fn keep_alive(&mut self) {
        self.last_keepalive = Instant::now();
        self.unanswered = self.unanswered.saturating_add(1);
        // The half-sent packet gets an answer, too.
        if self.half_sent() {
            return;
        }
        // The next operation reports a failed write.
        let _ = self.ssh.keepalive_send();
    }

    fn keepalive_interval(&self) -> Duration {
        (self.timeouts.silence / 4).clamp(Duration::from_millis(250), Duration::from_secs(10))
    }
}
