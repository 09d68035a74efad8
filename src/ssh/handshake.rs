//! One try to log in, and how far it came.
//!
//! In: a [`Target`]. Out: a [`Link`], or a [`Missed`] that names the stage. Runs on the thread that serves the session.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use ssh2::{ErrorCode, MethodType};

use super::channel::{Cancel, Link, Patience, Stop, Until};
use super::error::ConnectStage;
use super::{Endpoint, keys};
use crate::secret::Secret;

/// Whom to log in to, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// The pinned host key, as the server sends it.
    pub(super) host_key: Vec<u8>,
    pub(super) user_private: Secret,
    pub(super) user_public: String,
    pub(super) patience: Patience,
}

/// A try that did not lead in.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) stage: ConnectStage,
    pub(super) seen: String,
    pub(super) kind: MissedKind,
}

/// Whether another try may lead further.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MissedKind {
    /// It may.
    TryAgain,
    /// It may, but should wait longer for the banner.
    Silent,
    /// Our key was refused: a few more tries.
    KeyRefused,
    /// Another host answers, with this fingerprint: no.
    OtherHost(String),
}

/// libssh2's words for a signature or a key that the server does not take.
const REFUSED: [ErrorCode; 2] = [ErrorCode::Session(-18), ErrorCode::Session(-19)];

/// Connects, agrees on keys, checks the host key and logs in. Waits `banner` for the server's first words.
pub(super) fn log_in(target: &Target, banner: Duration, cancel: &Cancel) -> Result<Link, Missed> {
    let socket = connect(target)?;
    let mut link =
        prepare(socket, target.patience).map_err(|why| missed(ConnectStage::Tcp, why))?;
    shake_hands(&mut link, banner, cancel)?;
    check_host(&link, target)?;
    authenticate(&mut link, target, cancel)?;
    Ok(link)
}

fn missed(stage: ConnectStage, seen: impl Into<String>) -> Missed {
    Missed {
        stage,
        seen: seen.into(),
        kind: MissedKind::TryAgain,
    }
}

fn connect(target: &Target) -> Result<TcpStream, Missed> {
    let address = &target.endpoint.address;
    TcpStream::connect_timeout(address, target.patience.tcp).map_err(|error| {
        let seen = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::TimedOut => format!(
                "no answer within {} s, as behind a filter",
                target.patience.tcp.as_secs()
            ),
            _ => error.to_string(),
        };
        missed(ConnectStage::Tcp, seen)
    })
}

/// A session on `socket` before its first byte.
fn prepare(socket: TcpStream, patience: Patience) -> Result<Link, String> {
    let words = |error: ssh2::Error| error.message().to_owned();
    socket
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    // libssh2 is told not to block, so the socket must not block either.
    socket
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let ours = socket.try_clone().map_err(|error| error.to_string())?;
    let mut ssh = ssh2::Session::new().map_err(words)?;
    ssh.set_tcp_stream(socket);
    ssh.set_blocking(false);
    ssh.method_pref(MethodType::HostKey, "ssh-ed25519")
        .map_err(words)?;
    let every_s = u32::try_from(patience.silence.as_secs() / 4).unwrap_or(u32::MAX);
    ssh.set_keepalive(true, every_s.clamp(1, 10));
    Ok(Link::new(ssh, ours, patience))
}

fn shake_hands(link: &mut Link, banner: Duration, cancel: &Cancel) -> Result<(), Missed> {
    let began = Instant::now();
    loop {
        let spoke = link.ssh.banner().is_some();
        let limit = if spoke { link.patience.login } else { banner };
        let until = Until {
            deadline: began + limit,
            cancel,
        };
        let stop = match link.ssh.handshake() {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == ErrorCode::Session(-37) => match link.pause(until) {
                Ok(()) => continue,
                Err(stop) => stop,
            },
            Err(error) => Stop::from(error),
        };
        let banner = link.ssh.banner().map(str::to_owned);
        return Err(unfinished(stop, banner, limit));
    }
}

/// What to say of a handshake that did not finish.
fn unfinished(stop: Stop, banner: Option<String>, limit: Duration) -> Missed {
    let limit_s = limit.as_secs_f32();
    match (stop, banner) {
        (Stop::Deadline, None) => Missed {
            kind: MissedKind::Silent,
            ..missed(
                ConnectStage::Banner,
                format!("connected, but nothing was said for {limit_s:.1} s"),
            )
        },
        (Stop::Broken(why), None) => missed(
            ConnectStage::Banner,
            format!("connected, but closed before a banner ({})", why.trim()),
        ),
        (Stop::Deadline, Some(banner)) => missed(
            ConnectStage::KeyExchange,
            format!("{banner}: no keys agreed upon within {limit_s:.1} s"),
        ),
        (Stop::Broken(why), Some(banner)) => missed(
            ConnectStage::KeyExchange,
            format!("{banner}: {}", why.trim()),
        ),
        (Stop::Cancelled | Stop::TooMuch, _) => missed(ConnectStage::Banner, "cancelled"),
    }
}

fn check_host(link: &Link, target: &Target) -> Result<(), Missed> {
    let found = link.ssh.host_key().map_or(&[][..], |(key, _kind)| key);
    if found == target.host_key {
        return Ok(());
    }
    let fingerprint = keys::fingerprint(found);
    Err(Missed {
        stage: ConnectStage::HostKey,
        seen: format!("another host key, {fingerprint}"),
        kind: MissedKind::OtherHost(fingerprint),
    })
}

fn authenticate(link: &mut Link, target: &Target, cancel: &Cancel) -> Result<(), Missed> {
    let until = Until {
        deadline: Instant::now() + link.patience.login,
        cancel,
    };
    loop {
        let login = link.ssh.userauth_pubkey_memory(
            &target.endpoint.user,
            Some(&target.user_public),
            target.user_private.expose(),
            None,
        );
        let stop = match login {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == ErrorCode::Session(-37) => match link.pause(until) {
                Ok(()) => continue,
                Err(stop) => stop,
            },
            Err(error) if REFUSED.contains(&error.code()) => {
                return Err(Missed {
                    kind: MissedKind::KeyRefused,
                    ..missed(ConnectStage::Authentication, "our key was refused")
                });
            }
            Err(error) => Stop::from(error),
        };
        return Err(missed(
            ConnectStage::Authentication,
            match stop {
                Stop::Broken(why) => why,
                Stop::Deadline => "the login took too long".to_owned(),
                Stop::Cancelled | Stop::TooMuch => "cancelled".to_owned(),
            },
        ));
    }
}
