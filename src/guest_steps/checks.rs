//! Runs `check.sh` of every step that has one, and reads what they say.
//!
//! In: a session and the phase. Out: one record for each check; or, after all were made, an error that names those that
//! failed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tap::{self, Test};
use super::{Guest, ProvisionError, script};
use crate::event::{Event, Events};
use crate::plan::{PlannedStep, StepKind};
use crate::ssh::{Captured, Session, SshError};

/// When checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In the machine that is being made.
    Build,
    /// In a machine that was started from the captured image.
    Image,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Image => "image",
        })
    }
}

/// The record of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRecord {
    /// Stable, as in `vault.unit-sandboxed`; a script that failed as a whole is `<step>.check-script`.
    pub id: String,
    /// What it says.
    pub description: String,
    /// Whether it holds; a skipped check counts as held.
    pub ok: bool,
    /// Why it was not made, where it was not.
    pub skipped: Option<String>,
    /// The step whose check it is.
    pub step: String,
}

/// What a `check.sh` has.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);

/// Makes the checks of all steps in a booted image, one after the other: a node under test has more to do.
pub async fn run_checks(
    guest: &Guest<'_>,
    session: &Session,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let steps = guest.steps.iter().filter(|step| is_checked(step));
    check_steps(guest, Phase::Image, session, steps).await
}

fn is_checked(step: &PlannedStep) -> bool {
    matches!(step.kind, StepKind::Provisioner { checked: true, .. })
}

/// Makes the checks of `steps`.
pub(super) async fn check_steps<'a>(
    guest: &Guest<'_>,
    phase: Phase,
    session: &Session,
    steps: impl Iterator<Item = &'a PlannedStep>,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let mut records = Vec::new();
    for step in steps {
        records.push((step, check(guest, phase, session, step).await?));
    }
    evaluated(guest, phase, session, records)
}

/// Steps whose checks are still to be made in a build, taken from by whoever has a session.
pub(super) struct Waiting<'a>(Mutex<VecDeque<&'a PlannedStep>>);

impl<'a> Waiting<'a> {
    /// Of all steps but the seal, which is not done yet.
    pub(super) fn new(guest: &Guest<'a>) -> Self {
        let is_seal =
            |step: &PlannedStep| matches!(step.kind, StepKind::Provisioner { seal: true, .. });
        let steps = guest.steps.iter().filter(|step| is_checked(step));
        Self(Mutex::new(steps.filter(|step| !is_seal(step)).collect()))
    }

    fn next(&self) -> Option<&'a PlannedStep> {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.pop_front()
    }

    /// Makes checks until none are left.
    pub(super) async fn make(
        &self,
        guest: &Guest<'_>,
        session: &Session,
    ) -> Result<Vec<(&'a PlannedStep, Vec<CheckRecord>)>, ProvisionError> {
        let mut made = Vec::new();
        while let Some(step) = self.next() {
            made.push((step, check(guest, Phase::Build, session, step).await?));
        }
        Ok(made)
    }
}

/// All records in the order of the steps, where every check holds; an id may be there once.
pub(super) fn evaluated(
    guest: &Guest<'_>,
    phase: Phase,
    session: &Session,
    mut made: Vec<(&PlannedStep, Vec<CheckRecord>)>,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    made.sort_by_key(|(step, _)| guest.steps.iter().position(|one| one.name == step.name));
    let mut records: Vec<CheckRecord> = Vec::new();
    for (step, found) in made {
        for record in found {
            let twice = records.iter().any(|other| other.id == record.id);
            records.push(if twice {
                let why = format!("another step has a check `{}` too", record.id);
                whole(guest.events, step, why)
            } else {
                record
            });
        }
    }
    if records.iter().all(|record| record.ok) {
        return Ok(records);
    }
    Err(ProvisionError::Checks {
        endpoint: session.endpoint().to_string(),
        phase,
        records,
    })
}

/// Runs one `check.sh`.
async fn check(
    guest: &Guest<'_>,
    phase: Phase,
    session: &Session,
    step: &PlannedStep,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let name = format!("{}/check", step.name);
    let run = (name.clone(), "check.sh", CHECK_TIMEOUT);
    let script = script::run_file(guest, step, phase, run)?;
    let captured = match session.capture(script, guest.interrupt).await {
        Ok(captured) => captured,
        // Its connection is gone, so no other check could run either.
        Err(error @ (SshError::Lost { .. } | SshError::Interrupted(_))) => {
            return Err(ProvisionError::ssh(session.endpoint(), error));
        }
        Err(error) => return Ok(vec![whole(guest.events, step, error.to_string())]),
    };
    let Captured { exit, text, last } = captured;
    for line in last {
        output(guest.events, &name, line);
    }
    let (tests, why) = match tap::parse(&text) {
        Ok(tests) if exit == 0 || tests.iter().any(|test| !test.ok) => (tests, None),
        Ok(tests) => (
            tests,
            Some(format!("its checks hold, but it ended with {exit}")),
        ),
        Err(why) if exit == 0 => (Vec::new(), Some(why)),
        Err(why) => (Vec::new(), Some(format!("it ended with {exit}, and {why}"))),
    };
    let mut records: Vec<CheckRecord> = tests
        .into_iter()
        .map(|test| record(guest.events, step, test))
        .collect();
    records.extend(why.map(|why| whole(guest.events, step, why)));
    Ok(records)
}

/// A check script that failed as a whole.
fn whole(events: &Events, step: &PlannedStep, why: String) -> CheckRecord {
    let test = Test {
        id: format!("{}.check-script", step.name),
        description: why,
        ok: false,
        skipped: None,
        diagnostics: Vec::new(),
    };
    record(events, step, test)
}

fn record(events: &Events, step: &PlannedStep, test: Test) -> CheckRecord {
    let skipped = test.skipped.as_ref();
    events.emit(&Event::Checked {
        check: test.id.clone(),
        description: skipped.map_or_else(
            || test.description.clone(),
            |reason| format!("{} # SKIP {reason}", test.description),
        ),
        ok: test.ok,
        diagnostics: test.diagnostics,
    });
    CheckRecord {
        id: test.id,
        description: test.description,
        ok: test.ok,
        skipped: test.skipped,
        step: step.name.clone(),
    }
}

fn output(events: &Events, source: &str, line: String) {
    events.emit(&Event::Output {
        source: source.to_owned(),
        line,
    });
}
