//! Sessions with `sshd`, and with defective servers.

mod connecting;
mod scripts;
mod uploads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use testing::sshd::Sshd;
use vault_bake::event::{Event, Events};
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Keys, Script, Session, SshError};
use vault_bake::wait::Interrupt;

/// Records all events.
#[derive(Clone, Default)]
pub struct EventRecorder(Arc<Mutex<Vec<Event>>>);

impl EventRecorder {
    pub fn events(&self) -> Events {
        let recorder = self.clone();
        Events::new(move |event: &Event| {
            let mut all = recorder.0.lock().expect("no test panicked here");
            all.push(event.clone());
        })
    }

    pub fn all(&self) -> Vec<Event> {
        self.0.lock().expect("no test panicked here").clone()
    }

    /// Returns the printed lines.
    pub fn lines(&self) -> Vec<String> {
        let line = |event| match event {
            Event::Output { line, .. } => Some(line),
            _ => None,
        };
        self.all().into_iter().filter_map(line).collect()
    }
}

pub const SOON: Duration = Duration::from_secs(20);

/// Starts a server and opens a session.
pub async fn session(scrubber: Scrubber) -> (Sshd, Session) {
    let keys = Keys::generate();
    let sshd = Sshd::start(&keys);
    let session = connect(&sshd, &keys, scrubber).await;
    let session = session.unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    (sshd, session)
}

pub async fn connect(sshd: &Sshd, keys: &Keys, scrubber: Scrubber) -> Result<Session, SshError> {
    let alive = async || None;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    Session::connect(
        &sshd.endpoint(),
        keys,
        SOON,
        alive,
        scrubber,
        &events,
        &interrupt,
    )
    .await
}

pub fn script(text: impl Into<String>) -> Script {
    Script {
        name: "step".to_owned(),
        text: text.into(),
        timeout: SOON,
    }
}

/// Polls until `what` is true.
pub async fn eventually(what: impl Fn() -> bool) -> bool {
    let wait = vault_bake::wait::Wait::new("a condition", SOON)
        .pausing(Duration::from_millis(20), Duration::from_millis(100));
    let seen = wait
        .until(&Events::silent(), &Interrupt::default(), || async {
            if what() {
                vault_bake::wait::Poll::Ready(())
            } else {
                vault_bake::wait::Poll::<(), std::convert::Infallible>::NotYet("not so".to_owned())
            }
        })
        .await;
    seen.is_ok()
}
