//! Tries once to log in to a [`Target`].
//! Returns a [`Link`], or a [`LoginFailure`] with the stage that the try reached.
//! Runs on the session's thread.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use ssh2::{ErrorCode, MethodType};

use super::channel::{Cancel, ConnectionTimeouts, EAGAIN, Link, Stop, Until};
use super::error::ConnectStage;
use super::{Endpoint, keys};
use crate::secret::Secret;

/// A machine to log in to, with keys and time limits.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// The pinned host key, as the server sends it.
    pub(super) host_key: Vec<u8>,
    pub(super) user_private: Secret,
    pub(super) user_public: String,
    pub(super) timeouts: ConnectionTimeouts,
}

/// A failed try.
#[derive(Debug)]
pub(super) struct LoginFailure {
    pub(super) stage: ConnectStage,
    pub(super) reason: String,
    pub(super) kind: FailureKind,
}

/// Decides whether to try again after a failed try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    TryAgain,
    /// Try again, and wait longer for the banner.
    Silent,
    /// Try again a few times only.
    KeyRefused,
    /// Do not try again: the server has another host key, with this fingerprint.
    OtherHost(String),
}

/// libssh2's error codes for a signature or key that the server refuses.
const REFUSED: [ErrorCode; 2] = [ErrorCode::Session(-18), ErrorCode::Session(-19)];

/// Connects, exchanges keys, checks the host key and logs in.
/// Waits at most `banner` for the server's first bytes.
pub(super) fn log_in(
    target: &Target,
    banner: Duration,
    cancel: &Cancel,
) -> Result<Link, LoginFailure> {
    let socket = connect(target)?;
    let mut link =
        prepare(socket, target.timeouts).map_err(|why| failure(ConnectStage::Tcp, why))?;
    exchange_keys(&mut link, banner, cancel)?;
    check_host(&link, target)?;
    authenticate(&mut link, target, cancel)?;
    Ok(link)
}

fn failure(stage: ConnectStage, reason: impl Into<String>) -> LoginFailure {
    LoginFailure {
        stage,
        reason: reason.into(),
        kind: FailureKind::TryAgain,
    }
}

fn connect(target: &Target) -> Result<TcpStream, LoginFailure> {
    let address = &target.endpoint.address;
    TcpStream::connect_timeout(address, target.timeouts.tcp).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::TimedOut => format!(
                "no answer within {} s, as behind a firewall",
                target.timeouts.tcp.as_secs()
            ),
            _ => error.to_string(),
        };
        failure(ConnectStage::Tcp, reason)
    })
}

/// Sets up a session on `socket`, before its first byte.
fn prepare(socket: TcpStream, patience: ConnectionTimeouts) -> Result<Link, String> {
    let message = |error: ssh2::Error| error.message().to_owned();
    socket
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    // libssh2 in non-blocking mode needs a non-blocking socket.
    socket
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let polled = socket.try_clone().map_err(|error| error.to_string())?;
    let mut ssh = ssh2::Session::new().map_err(message)?;
    ssh.set_tcp_stream(socket);
    ssh.set_blocking(false);
    ssh.method_pref(MethodType::HostKey, "ssh-ed25519")
        .map_err(message)?;
    let interval_s = u32::try_from(patience.silence.as_secs() / 4).unwrap_or(u32::MAX);
    ssh.set_keepalive(true, interval_s.clamp(1, 10));
    Ok(Link::new(ssh, polled, patience))
}

fn exchange_keys(link: &mut Link, banner: Duration, cancel: &Cancel) -> Result<(), LoginFailure> {
    let began = Instant::now();
    loop {
        let has_banner = link.ssh.banner().is_some();
        let limit = if has_banner {
            link.timeouts.login
        } else {
            banner
        };
        let until = Until {
            deadline: began + limit,
            cancel,
        };
        let stop = match link.ssh.handshake() {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == EAGAIN => match link.pause(until) {
                Ok(()) => continue,
                Err(stop) => stop,
            },
            Err(error) => Stop::from(error),
        };
        let banner = link.ssh.banner().map(str::to_owned);
        return Err(key_exchange_failure(stop, banner, limit));
    }
}

fn key_exchange_failure(stop: Stop, banner: Option<String>, limit: Duration) -> LoginFailure {
    let limit_s = limit.as_secs_f32();
    match (stop, banner) {
        (Stop::Deadline, None) => LoginFailure {
            kind: FailureKind::Silent,
            ..failure(
                ConnectStage::Banner,
                format!("connected, but received no banner within {limit_s:.1} s"),
            )
        },
        (Stop::Broken(why), None) => failure(
            ConnectStage::Banner,
            format!(
                "connected, but the connection closed before a banner ({})",
                why.trim()
            ),
        ),
        (Stop::Deadline, Some(banner)) => failure(
            ConnectStage::KeyExchange,
            format!("{banner}: no key exchange within {limit_s:.1} s"),
        ),
        (Stop::Broken(why), Some(banner)) => failure(
            ConnectStage::KeyExchange,
            format!("{banner}: {}", why.trim()),
        ),
        (Stop::Cancelled | Stop::OutputLimit, _) => failure(ConnectStage::Banner, "cancelled"),
    }
}

fn check_host(link: &Link, target: &Target) -> Result<(), LoginFailure> {
    let found = link.ssh.host_key().map_or(&[][..], |(key, _kind)| key);
    if found == target.host_key {
        return Ok(());
    }
    let fingerprint = keys::fingerprint(found);
    Err(LoginFailure {
        stage: ConnectStage::HostKey,
        reason: format!("another host key, {fingerprint}"),
        kind: FailureKind::OtherHost(fingerprint),
    })
}

fn authenticate(link: &mut Link, target: &Target, cancel: &Cancel) -> Result<(), LoginFailure> {
    let until = Until {
        deadline: Instant::now() + link.timeouts.login,
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
            Err(error) if error.code() == EAGAIN => match link.pause(until) {
                Ok(()) => continue,
                Err(stop) => stop,
            },
            Err(error) if REFUSED.contains(&error.code()) => {
                return Err(LoginFailure {
                    kind: FailureKind::KeyRefused,
                    ..failure(
                        ConnectStage::Authentication,
                        "the server refused the run's key",
                    )
                });
            }
            Err(error) => Stop::from(error),
        };
        return Err(failure(
            ConnectStage::Authentication,
            match stop {
                Stop::Broken(why) => why,
                Stop::Deadline => "the login took too long".to_owned(),
                Stop::Cancelled | Stop::OutputLimit => "cancelled".to_owned(),
            },
        ));
    }
}
