//! Runs the `check.sh` of every step that has one, and parses its output.
//! Takes a session and the phase; returns one record for each check.
//! All checks run before a failed one becomes an error.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::check_record::{CheckRecord, Phase};
use super::tap::{self, Test};
use super::{ProvisionError, StepContext, script};
use crate::event::{Event, Events};
use crate::plan::{PlannedStep, StepKind};
use crate::ssh::{Captured, Session, SshError};

/// The limit for one `check.sh`. It takes 20 s under emulation, and several times as long on a busy
/// computer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the checks of all steps in a booted image, one after the other.
/// They do not run in parallel, because the services of the node need the CPU as well.
pub async fn run_checks(
    guest: &StepContext<'_>,
    session: &Session,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let steps = guest.steps.iter().filter(|step| is_checked(step));
    check_steps(guest, Phase::Image, session, steps).await
}

fn is_checked(step: &PlannedStep) -> bool {
    matches!(step.kind, StepKind::Provisioner { checked: true, .. })
}

/// Runs the checks of `steps`.
pub(super) async fn check_steps<'a>(
    guest: &StepContext<'_>,
    phase: Phase,
    session: &Session,
    steps: impl Iterator<Item = &'a PlannedStep>,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let mut records = Vec::new();
    for step in steps {
        records.push((step, run_check_script(guest, phase, session, step).await?));
    }
    evaluate(guest, phase, session, records)
}

/// A queue of steps whose checks have not run yet. Two sessions share it.
pub(super) struct CheckQueue<'a>(Mutex<VecDeque<&'a PlannedStep>>);

impl<'a> CheckQueue<'a> {
    /// Queues all steps with checks except the seal, which has not run yet.
    pub(super) fn new(guest: &StepContext<'a>) -> Self {
        let is_seal =
            |step: &PlannedStep| matches!(step.kind, StepKind::Provisioner { seal: true, .. });
        let steps = guest.steps.iter().filter(|step| is_checked(step));
        Self(Mutex::new(steps.filter(|step| !is_seal(step)).collect()))
    }

    fn next(&self) -> Option<&'a PlannedStep> {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.pop_front()
    }

    /// Runs checks until the queue is empty.
    pub(super) async fn run_all(
        &self,
        guest: &StepContext<'_>,
        session: &Session,
    ) -> Result<Vec<(&'a PlannedStep, Vec<CheckRecord>)>, ProvisionError> {
        let mut results = Vec::new();
        while let Some(step) = self.next() {
            let records = run_check_script(guest, Phase::Build, session, step).await?;
            results.push((step, records));
        }
        Ok(results)
    }
}

/// Returns all records in the order of the steps. Fails if a check failed, or an id occurs twice.
pub(super) fn evaluate(
    guest: &StepContext<'_>,
    phase: Phase,
    session: &Session,
    mut results: Vec<(&PlannedStep, Vec<CheckRecord>)>,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    results.sort_by_key(|(step, _)| guest.steps.iter().position(|one| one.name == step.name));
    let mut records: Vec<CheckRecord> = Vec::new();
    for (step, of_step) in results {
        for record in of_step {
            let twice = records.iter().any(|other| other.id == record.id);
            records.push(if twice {
                let why = format!("another step also has a check `{}`", record.id);
                report_script_failure(guest.events, step, why)
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

/// Runs the `check.sh` of `step`.
async fn run_check_script(
    guest: &StepContext<'_>,
    phase: Phase,
    session: &Session,
    step: &PlannedStep,
) -> Result<Vec<CheckRecord>, ProvisionError> {
    let name = format!("{}/check", step.name);
    let invocation = script::Invocation {
        name: name.clone(),
        file: "check.sh",
        timeout: CHECK_TIMEOUT,
    };
    let script = script::run_file(guest, step, phase, invocation)?;
    let captured = match session.capture(script, guest.interrupt).await {
        Ok(captured) => captured,
        // Without a connection no other check can run.
        Err(error @ (SshError::Lost { .. } | SshError::Interrupted(_))) => {
            return Err(ProvisionError::ssh(session.endpoint(), error));
        }
        Err(error) => {
            let record = report_script_failure(guest.events, step, error.to_string());
            return Ok(vec![record]);
        }
    };
    let Captured { exit, text, last } = captured;
    for line in last {
        guest.events.emit(&Event::Output {
            source: name.clone(),
            line,
        });
    }
    let (tests, failure) = match tap::parse(&text) {
        Ok(tests) if exit == 0 || tests.iter().any(|test| !test.ok) => (tests, None),
        Ok(tests) => (
            tests,
            Some(format!(
                "all its checks passed, but its exit status is {exit}"
            )),
        ),
        Err(why) if exit == 0 => (Vec::new(), Some(why)),
        Err(why) => (
            Vec::new(),
            Some(format!("its exit status is {exit}, and {why}")),
        ),
    };
    let mut records: Vec<CheckRecord> = tests
        .into_iter()
        .map(|test| report_check(guest.events, step, test))
        .collect();
    records.extend(failure.map(|why| report_script_failure(guest.events, step, why)));
    Ok(records)
}

/// Reports a check script that failed as a whole, as one failed check.
fn report_script_failure(events: &Events, step: &PlannedStep, why: String) -> CheckRecord {
    let test = Test {
        id: format!("{}.check-script", step.name),
        description: why,
        ok: false,
        skipped: None,
        diagnostics: Vec::new(),
    };
    report_check(events, step, test)
}

/// Emits the result of a check, and returns its record.
fn report_check(events: &Events, step: &PlannedStep, test: Test) -> CheckRecord {
    let skipped = test.skipped.as_ref();
    events.emit(&Event::CheckFinished {
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
