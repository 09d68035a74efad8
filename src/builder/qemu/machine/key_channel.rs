//! How keys get into a machine that runs already: by a serial port of its own, which a unit in it waits at.
//!
//! In: a machine whose system is up. Out: one that stands still without any key, and later one that answers with new ones.
//! The unit lives in memory alone. Deliberately has the guest say each time that it is done: nothing is guessed from time.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::arguments::KEYS_PORT;
use crate::builder::BuilderError;
use crate::builder::qemu::socket;
use crate::event::Events;
use crate::secret::Secret;
use crate::ssh::{Script, quote};
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Has the guest get ready to be suspended, once all of its units have started, or some of them wait for what does not come. Timers stay quiet until it is restarted: time
/// jumps when it resumes.
pub(super) fn standby_script() -> Script {
    let unit = unit();
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

/// What the unit does. The port reads as empty until somebody listens at its other end, so it is asked again. The generator of
/// random numbers is the same whenever this machine resumes, so it is fed with what only this run knows, and seeded anew
/// (`RNDRESEEDCRNG` of linux/random.h). The kernel's clock stood still, the computer's did not.
fn unit() -> String {
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
    said: String,
}

impl KeyChannel {
    /// Connects to the socket `name` of a machine in `folder`.
    pub async fn connect(folder: &Path, name: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: socket::connect(folder, name).await?,
            said: String::new(),
        })
    }

    /// Waits until the guest stands by without any key.
    pub async fn wait_until_ready(
        &mut self,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        self.read_line(STANDING_BY, STAND_BY_TIMEOUT, events, interrupt)
            .await
    }

    /// Gives it keys (lines for systemd-tmpfiles, in base64), and waits until it answers with them.
    pub async fn send_keys(
        &mut self,
        keys: &Secret,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        let line = Secret::new(format!("{}\n", keys.expose()));
        let sent = interrupt.or(self.stream.write_all(line.expose().as_bytes()));
        sent.await?.map_err(|error| refused(error.to_string()))?;
        self.read_line(STARTED, HAND_OVER_TIMEOUT, events, interrupt)
            .await
    }

    async fn read_line(
        &mut self,
        word: &str,
        timeout: Duration,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        let heard = Wait::new(format!("the machine to say `{word}`"), timeout)
            .pausing(Duration::from_millis(20), Duration::from_millis(100))
            .until(events, interrupt, || {
                let seen = self.look(word);
                async { seen }
            })
            .await;
        heard.map_err(|error| match error {
            WaitError::Interrupted(error) => error.into(),
            WaitError::Never(why) => refused(why),
            WaitError::Deadline { .. } => BuilderError::Late(error.to_string()),
        })
    }

    fn look(&mut self, word: &str) -> Poll<(), String> {
        let mut buffer = [0; 256];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => return Poll::Never("QEMU closed its port for keys".to_owned()),
            Ok(read) => self
                .said
                .push_str(&String::from_utf8_lossy(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Never(error.to_string()),
        }
        match self.said.lines().any(|line| line == word) {
            true => Poll::Ready(()),
            false => Poll::NotYet(format!("it said {:?}", self.said.trim_end())),
        }
    }
}

fn refused(why: String) -> BuilderError {
    BuilderError::Control {
        machine: "build".to_owned(),
        why,
    }
}

/// A tmpfs, so it goes with the machine.
const UNIT_SCRIPT: &str = "/run/vault-bake-stand-by.sh";
const STANDING_BY: &str = "standing-by";
const STARTED: &str = "started";
/// All units of a slow machine.
const UP_TIMEOUT: Duration = Duration::from_secs(180);
/// Services that end, and a disk that is written to.
const STAND_BY_TIMEOUT: Duration = Duration::from_secs(60);
/// Some ten programs start, in a machine whose emulator has to translate all of them anew.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(60);
