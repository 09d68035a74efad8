//! Defines the events that the library emits to a [`Sink`] of the caller. The caller prints them.
//! Events carry no secrets, because [`crate::secret::Secret`] cannot be put into an event.
//! Their JSON form is documented in `docs/events.md`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The stages of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Fetches and verifies releases.
    Fetch,
    /// Builds or fetches the base disk, or finds it in the cache.
    Base,
    /// Starts the build VM and waits for SSH.
    Boot,
    /// Uploads files and releases.
    Upload,
    /// Runs the steps and checks.
    Provision,
    /// Runs the seal.
    Seal,
    /// Shuts the build VM down, makes the artifact from its disk, and scans it for leaks.
    Capture,
    /// Writes the manifest.
    Record,
    /// Runs the boot test.
    Test,
    /// Removes temporary resources.
    Cleanup,
    /// Finds the images of a cluster's nodes.
    Images,
    /// Starts Consul servers, and sets up their access control.
    Consul,
    /// Starts Vault nodes, initialises and unseals them.
    Vault,
    /// Starts the load balancer of a cluster.
    Front,
    /// Replaces the nodes of a cluster.
    Rollout,
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
            Self::Images => "images",
            Self::Consul => "consul",
            Self::Vault => "vault",
            Self::Front => "front",
            Self::Rollout => "rollout",
        })
    }
}

/// One event. Serialized as a JSON object with the kind in the field `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A build or a boot test started.
    RunStarted {
        /// The run's id.
        run: String,
        /// The kind of the run and its image, as in `test of quickstart@2026.1122.0`.
        subject: String,
    },
    /// A stage started.
    StageStarted {
        /// The stage.
        stage: Stage,
    },
    /// A stage finished.
    StageFinished {
        /// The stage.
        stage: Stage,
        /// The duration in milliseconds.
        elapsed_ms: u64,
        /// Whether the stage succeeded.
        ok: bool,
    },
    /// A step of the plan started.
    StepStarted {
        /// The position of the step in the plan, from 1.
        index: usize,
        /// The number of steps in the plan.
        count: usize,
        /// The step and its action, as in `vault/install`.
        step: String,
    },
    /// A step or program printed a line.
    Output {
        /// The step or program.
        source: String,
        /// The line, scrubbed of secrets.
        line: String,
    },
    /// A step finished.
    StepFinished {
        /// The step and its action, as in `vault/install`.
        step: String,
        /// The duration in milliseconds.
        elapsed_ms: u64,
        /// The exit status; 0 is success.
        exit: i32,
    },
    /// A step of a rollout ended: its gate was reached, or it failed.
    RolloutStep {
        /// The position of the step in the plan, from 1.
        index: usize,
        /// The number of steps in the plan.
        count: usize,
        /// The step in words, as in `hand over from dev-vault-1-1`.
        step: String,
        /// The duration in milliseconds.
        elapsed_ms: u64,
        /// Whether the gate was reached.
        ok: bool,
        /// The number of the canary's requests during the step.
        requests: u64,
        /// The number of these without a successful answer.
        failed: u64,
        /// The longest time without a successful answer, in milliseconds.
        longest_gap_ms: u64,
    },
    /// A check finished.
    CheckFinished {
        /// The stable id of the check, as in `vault.unit-sandboxed`.
        check: String,
        /// The description of the check. It ends with `# SKIP REASON` if the check was skipped.
        description: String,
        /// Whether the check passed. A skipped check counts as passed.
        ok: bool,
        /// The lines that the check printed about its result.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diagnostics: Vec<String>,
    },
    /// A transfer advanced.
    Progress {
        /// The transfer, as in `upload`.
        what: String,
        /// The bytes transferred so far.
        done_bytes: u64,
        /// The size of the transfer in bytes, if it is known.
        total_bytes: Option<u64>,
    },
    /// A wait has not ended yet.
    Waiting {
        /// The condition that must become true.
        what: String,
        /// The last observation.
        last_seen: String,
        /// The time waited so far, in milliseconds.
        elapsed_ms: u64,
        /// The limit of the wait, in milliseconds from its start.
        timeout_ms: u64,
    },
    /// A message for information.
    Note {
        /// The text.
        message: String,
    },
    /// A message about a problem that does not stop the run.
    Warning {
        /// The text.
        message: String,
    },
    /// A manifest was written to the store.
    Recorded {
        /// The name of the image.
        image: String,
        /// The version of the image.
        version: String,
        /// The digest of the manifest.
        manifest: String,
        /// The location of the artifact.
        artifact: String,
    },
    /// A boot test finished, and its test record was written.
    TestFinished {
        /// The digest of the manifest.
        manifest: String,
        /// Whether all checks passed.
        passed: bool,
        /// The number of checks.
        checks: usize,
        /// The number of failed checks.
        failed_checks: usize,
        /// The reason why the test ended early: the image did not boot, or a check did not finish.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Teardown or sweep removed a resource.
    Removed {
        /// The kind and name of the resource, as in `folder /path`.
        resource: String,
    },
    /// Teardown or sweep could not remove a resource.
    Leftover {
        /// The kind and name of the resource, as in `folder /path`.
        resource: String,
        /// The reason.
        reason: String,
    },
}

/// A receiver of events. Several threads call it; it must not block for long.
pub trait Sink: Send + Sync {
    /// Handles one event.
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

    /// Discards all events.
    pub fn silent() -> Self {
        Self::new(|_: &Event| {})
    }

    /// Emits one event.
    pub fn emit(&self, event: &Event) {
        self.0.emit(event);
    }

    /// Emits a message for information.
    pub fn note(&self, message: impl Into<String>) {
        self.emit(&Event::Note {
            message: message.into(),
        });
    }

    /// Emits a message about a problem that does not stop the run.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(&Event::Warning {
            message: message.into(),
        });
    }

    /// Runs `work`, and emits the start, the end and the duration of `stage`.
    pub async fn stage<T, E>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        self.emit(&Event::StageStarted { stage });
        // Boxed, because the future of a stage is large and callers may have small stacks.
        let result = Box::pin(work).await;
        self.emit(&Event::StageFinished {
            stage,
            elapsed_ms: millis(began.elapsed()),
            ok: result.is_ok(),
        });
        result
    }
}

/// Returns the whole milliseconds of a duration, for events.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
