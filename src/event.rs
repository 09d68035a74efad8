//! What the library tells while it works: typed events, to a sink of the caller's.
//!
//! In: facts from the stages. Out: calls of [`Sink::emit`]. Deliberately never prints, and carries no secret:
//! [`crate::secret::Secret`] cannot be put into an event.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The stages of a bake, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Releases are fetched and verified.
    Fetch,
    /// The base disk is made, fetched or found in the cache.
    Base,
    /// The temporary machine starts, until it answers on SSH.
    Boot,
    /// All files go to the machine.
    Upload,
    /// The steps run, and their checks.
    Provision,
    /// What must not be in an image is removed.
    Seal,
    /// The machine is shut down, its disk becomes the artifact and is looked through.
    Capture,
    /// The manifest is written.
    Record,
    /// The captured image is booted and checked.
    Test,
    /// What was temporary is removed.
    Cleanup,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Base => "base",
            Self::Boot => "boot",
            Self::Upload => "upload",
            Self::Provision => "provision",
            Self::Seal => "seal",
            Self::Capture => "capture",
            Self::Record => "record",
            Self::Test => "test",
            Self::Cleanup => "cleanup",
        })
    }
}

/// One thing that happened. Serialized as one JSON object with the field `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run (a bake or a test) began.
    RunStarted {
        /// The run's id.
        run: String,
        /// What it works on: `bake of quickstart`, `test of quickstart@2026.1122.0`.
        subject: String,
    },
    /// A stage began.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
        /// Whether it did what it should.
        ok: bool,
    },
    /// A step of the plan began.
    StepStarted {
        /// Its place in the plan, from 1.
        index: usize,
        /// How many there are.
        count: usize,
        /// Its name, as in `vault/install`.
        step: String,
    },
    /// A step printed a line.
    Output {
        /// The step or program.
        source: String,
        /// The line, scrubbed of secrets.
        line: String,
    },
    /// A step ended.
    StepFinished {
        /// Its name.
        step: String,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
        /// Its exit status; 0 is success.
        exit: i32,
    },
    /// One check was made.
    Checked {
        /// The check's stable id, as in `vault.unit-sandboxed`.
        check: String,
        /// What it says, in words.
        description: String,
        /// Whether it holds; a skipped check counts as held and says `# SKIP` in the description.
        ok: bool,
        /// What the check printed about it, a line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diagnostics: Vec<String>,
    },
    /// Something long advances.
    Progress {
        /// What advances, as in `upload`.
        what: String,
        /// How far, in bytes.
        done_bytes: u64,
        /// Of how much, in bytes, where that is known.
        total_bytes: Option<u64>,
    },
    /// A wait goes on.
    Waiting {
        /// For what.
        what: String,
        /// What was seen at the last look.
        seen: String,
        /// For how long already, in milliseconds.
        elapsed_ms: u64,
        /// Until when at the most, in milliseconds from its beginning.
        deadline_ms: u64,
    },
    /// Worth knowing.
    Note {
        /// In words.
        message: String,
    },
    /// Worth acting on, though the work goes on.
    Warning {
        /// In words.
        message: String,
    },
    /// A manifest was recorded.
    Recorded {
        /// `name@version`.
        name: String,
        /// The manifest's digest.
        manifest: String,
        /// Where the artifact is.
        artifact: String,
    },
    /// The captured image was tested, and the result recorded.
    Tested {
        /// The manifest's digest.
        manifest: String,
        /// Whether all checks passed.
        passed: bool,
        /// How many checks there were.
        checks: usize,
        /// How many of them failed.
        failed: usize,
        /// What else went wrong: the image did not come up, or its checks did not come to their end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// Something was removed by teardown or sweep.
    Removed {
        /// What.
        what: String,
    },
    /// Something could not be removed.
    Leaked {
        /// What, and why.
        what: String,
    },
}

/// Where events go. Called from several threads; must not block for long.
pub trait Sink: Send + Sync {
    /// Takes note of one event.
    fn emit(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Sink for F {
    fn emit(&self, event: &Event) {
        self(event);
    }
}

/// A shared handle on a [`Sink`].
#[derive(Clone)]
pub struct Events(Arc<dyn Sink>);

impl Events {
    /// Sends all events to `sink`.
    pub fn new(sink: impl Sink + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Sends all events nowhere.
    pub fn silent() -> Self {
        Self::new(|_: &Event| {})
    }

    /// Tells of one event.
    pub fn emit(&self, event: &Event) {
        self.0.emit(event);
    }

    /// Tells something worth knowing.
    pub fn note(&self, message: impl Into<String>) {
        self.emit(&Event::Note {
            message: message.into(),
        });
    }

    /// Tells something worth acting on.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(&Event::Warning {
            message: message.into(),
        });
    }

    /// Runs `work` as `stage`: tells of its beginning, its end and its duration.
    pub async fn stage<T, E>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        self.emit(&Event::StageStarted { stage });
        // A stage is a large thing to be part of its caller; callers may run on small stacks.
        let result = Box::pin(work).await;
        self.emit(&Event::StageFinished {
            stage,
            elapsed_ms: millis(began.elapsed()),
            ok: result.is_ok(),
        });
        result
    }
}

/// Whole milliseconds of a duration, as events give them.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
