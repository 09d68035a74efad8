//! The key channel: a serial port on which a unit in a running guest receives keys.
//! Prepares a booted guest for a VM snapshot without keys, and later gives it the keys of a run.
//! The guest confirms each step with a line on the port. The unit exists only in memory.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::builder::BuilderError;
use crate::event::Events;
use crate::platform::qemu::socket;
use crate::secret::Secret;
use crate::ssh::{Script, quote};
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Returns the script that prepares the guest for a VM snapshot, after its units have started or a
/// time limit has passed.
///
/// It stops all timers until the next restart, because the clock jumps when the VM resumes.
pub(super) fn standby_script() -> Script {
    let unit = unit_script();
    let text = format!(
        "timeout 60 systemctl is-system-running --wait >/dev/null || true\n\
         systemctl stop '*.timer'\n\
         printf %s {} >{UNIT_SCRIPT}\n\
         systemd-run --quiet --collect --unit=vault-bake-stand-by sh {UNIT_SCRIPT}\n",
        quote(&unit)
    );
    Script {
        name: "stand-by".to_owned(),
        text,
        timeout: UP_TIMEOUT,
    }
}

/// Returns the script of the unit.
///
/// - The port reads as empty until the host connects to it, so the script polls it.
/// - The random number generator has the same state after each resume. The script feeds it the keys
///   of this run and reseeds it (`RNDRESEEDCRNG` of linux/random.h).
/// - The kernel's clock stopped in the VM snapshot, so the script sets it from the hardware clock.
fn unit_script() -> String {
    format!(
        r#"set -eu
port=/dev/virtio-ports/{KEYS_PORT}
rm {UNIT_SCRIPT}
systemctl stop ssh.service
while grep -qs '^sshd' /proc/[0-9]*/comm; do sleep 0.1; done
rm -rf /run/vault-bake
sync
echo {STANDING_BY} >"$port"
until IFS= read -r line <"$port" && [ -n "$line" ]; do sleep 0.05; done
date -s "@$(cat /sys/class/rtc/rtc0/since_epoch)" >/dev/null
printf %s "$line" >/dev/urandom
perl -e 'open my $random, ">", "/dev/urandom" or die; ioctl $random, 0x5207, 0 or die'
printf %s "$line" | base64 -d >/run/vault-bake-keys.conf
systemd-tmpfiles --create /run/vault-bake-keys.conf
rm /run/vault-bake-keys.conf
systemctl start ssh.service
echo {STARTED} >"$port"
"#
    )
}

/// The host's end of the port.
pub(super) struct KeyChannel {
    stream: UnixStream,
    received: String,
}

impl KeyChannel {
    /// Connects to the socket `name` in the `folder` of a VM.
    pub async fn connect(folder: &Path, name: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: socket::connect(folder, name).await?,
            received: String::new(),
        })
    }

    /// Waits until the guest has removed its keys and waits for new ones.
    pub(crate) async fn wait_until_ready(
        &mut self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        self.wait_for_line(STANDING_BY, STAND_BY_TIMEOUT, events, interrupt)
            .await
    }

    /// Sends keys (lines for systemd-tmpfiles, in base64), and waits until the guest has started
    /// sshd with them.
    pub(crate) async fn send_keys(
        &mut self,
        keys: &Secret,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        let line = Secret::new(format!("{}\n", keys.expose()));
        let sent = interrupt.or(self.stream.write_all(line.expose().as_bytes()));
        sent.await?
            .map_err(|error| control_error(error.to_string()))?;
        self.wait_for_line(STARTED, SEND_KEYS_TIMEOUT, events, interrupt)
            .await
    }

    async fn wait_for_line(
        &mut self,
        line: &str,
        timeout: Duration,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        let received = Wait::new(format!("the VM to report `{line}`"), timeout)
            .pausing(Duration::from_millis(20), Duration::from_millis(100))
            .until(events, interrupt, || {
                let poll = self.poll_line(line);
                async { poll }
            })
            .await;
        received.map_err(|error| match error {
            WaitError::Interrupted(error) => error.into(),
            WaitError::Never(why) => control_error(why),
            WaitError::Deadline { .. } => BuilderError::TimedOut(error.to_string()),
        })
    }

    fn poll_line(&mut self, expected: &str) -> Poll<(), String> {
        let mut buffer = [0; 256];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => return Poll::Never("QEMU closed the key channel".to_owned()),
            Ok(read) => self
                .received
                .push_str(&String::from_utf8_lossy(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Never(error.to_string()),
        }
        if self.received.lines().any(|line| line == expected) {
            Poll::Ready(())
        } else {
            Poll::NotYet(format!("it reported {:?}", self.received.trim_end()))
        }
    }
}

fn control_error(why: String) -> BuilderError {
    BuilderError::Control {
        machine: "build".to_owned(),
        why,
    }
}

/// The name of the serial port in the guest: `/dev/virtio-ports/…`.
pub(in crate::platform::qemu::machine) const KEYS_PORT: &str = "vault-bake-keys";

/// A path on a tmpfs, so the script is not on the disk.
const UNIT_SCRIPT: &str = "/run/vault-bake-stand-by.sh";
const STANDING_BY: &str = "standing-by";
const STARTED: &str = "started";
/// The time for the start of all units on a slow host.
const UP_TIMEOUT: Duration = Duration::from_secs(180);
/// The time for stopping services and syncing the disk.
const STAND_BY_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for about ten programs, whose code the new emulator must translate again.
const SEND_KEYS_TIMEOUT: Duration = Duration::from_secs(60);
