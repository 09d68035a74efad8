//! Obeys a plan: for each step requires, intent, effect, gate. It chooses nothing.
//! Takes a plan and a cluster; returns whether the plan was completed, or where it rests and why.

mod done;
mod outcome;

use std::time::Duration;

use jiff::Timestamp;

use super::journal::{Entry, Journal, Mark, Snapshot, StepResult};
use super::operations::Figures;
use super::{
    Action, Condition, EffectError, Evidence, Observation, Operations, Plan, Progress, Step,
};
use crate::digest::Digest;
use crate::event::{Event, Events, millis};
use crate::process::last_lines;
use crate::wait::{EVENT_INTERVAL, Interrupt, Urgency};

use done::is_done;
use outcome::{StepEnd, effect_error, inconclusive};

pub use outcome::{ExecuteError, Outcome, Rest};

/// The pause between two observations while a gate is not reached.
const POLL: Duration = Duration::from_millis(500);

/// The pause between the two observations of voters before a node is taken away.
const CONFIRM: Duration = Duration::from_secs(2);

/// The limit for the conditions before an effect, which hold unless something else happens.
const REQUIRE_LIMIT: Duration = Duration::from_secs(60);

/// The limit for the conditions before an undo.
const UNDO_LIMIT: Duration = Duration::from_secs(20);

/// The choices of a controller.
pub struct ExecuteOptions<'a> {
    /// The epoch of the controller.
    pub epoch: u64,
    /// Whether to rest before the active Vault node is stopped.
    pub stop_before_hand_over: bool,
    /// Whether a failed request of the canary stops the rollout at the next resting point.
    pub require_no_failure: bool,
    /// The clock, for the journal.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

/// The state of one execution.
struct Execution<'a, O, J> {
    plan: &'a Plan,
    digest: Digest,
    operations: &'a O,
    journal: &'a mut J,
    options: &'a ExecuteOptions<'a>,
    events: &'a Events,
    interrupt: &'a Interrupt,
    /// Never raised: the first interrupt does not cut an effect.
    quiet: Interrupt,
}

/// Executes the steps of a plan that are not done.
pub async fn execute<O: Operations, J: Journal>(
    plan: &Plan,
    operations: &O,
    journal: &mut J,
    options: &ExecuteOptions<'_>,
    (events, interrupt): (&Events, &Interrupt),
) -> Result<Outcome, ExecuteError> {
    let mut execution = Execution {
        plan,
        digest: plan.digest(),
        operations,
        journal,
        options,
        events,
        interrupt,
        quiet: Interrupt::default(),
    };
    tokio::select! {
        biased;
        () = interrupt.raised(Urgency::LeaveNow) => Err(ExecuteError::LeftNow),
        outcome = execution.run() => outcome,
    }
}

impl<O: Operations, J: Journal> Execution<'_, O, J> {
    async fn run(&mut self) -> Result<Outcome, ExecuteError> {
        let first = match self.skip_done().await? {
            Ok(first) => first,
            Err((next, why)) => return Ok(Outcome::Changed { next, why }),
        };
        for (index, step) in self.plan.steps.iter().enumerate().skip(first) {
            if let Some(why) = self.rests_before(step) {
                return self.rest(index, why);
            }
            match self.step(index, step).await? {
                StepEnd::Done => {}
                StepEnd::Changed(why) => return Ok(Outcome::Changed { next: index, why }),
                StepEnd::Interrupted => return self.rest(index, Rest::Interrupted),
            }
        }
        Ok(Outcome::Completed)
    }

    /// Skips the steps that the cluster has behind it. Returns the position of the first other one,
    /// or the difference if a later step is done and an earlier one is not.
    async fn skip_done(&mut self) -> Result<Result<usize, (usize, String)>, ExecuteError> {
        let seen = self.operations.observe(self.plan).await;
        let steps = &self.plan.steps;
        let done: Vec<bool> = steps
            .iter()
            .map(|step| is_done(&step.action, &seen, self.plan))
            .collect();
        let first = done.iter().position(|done| !done).unwrap_or(done.len());
        // Whether a snapshot was saved, or identities renewed, tells nothing about other steps.
        let stays = |index: &usize| steps[*index].action.stays_done();
        let mut indices = (0..done.len()).rev();
        let last = indices.find(|index| done[*index] && stays(index));
        let last = last.map_or(0, |last| last + 1);
        let lost = (first..last).find(|index| !done[*index] && stays(index));
        if let Some(index) = lost {
            let text = steps[index].action.to_string();
            return Ok(Err((
                index,
                format!("later steps are done, but not: {text}"),
            )));
        }
        let next = first.max(last);
        for index in 0..next {
            self.write(index, Mark::Skipped)?;
        }
        Ok(Ok(next))
    }

    /// Returns why the controller rests before a step, if it does.
    fn rests_before(&self, step: &Step) -> Option<Rest> {
        let failed = self.operations.canary().failed;
        if self.interrupt.urgency() != Urgency::None {
            Some(Rest::Interrupted)
        } else if self.options.require_no_failure && failed > 0 {
            Some(Rest::CanaryFailed { failed })
        } else if self.options.stop_before_hand_over
            && matches!(step.action, Action::HandOver { .. })
        {
            Some(Rest::BeforeHandOver)
        } else {
            None
        }
    }

    fn rest(&mut self, next: usize, why: Rest) -> Result<Outcome, ExecuteError> {
        let text = why.to_string();
        self.write(next, Mark::Resting { why: text })?;
        Ok(Outcome::Resting { next, why })
    }

    /// Performs a step and waits for its gate.
    async fn step(&mut self, index: usize, step: &Step) -> Result<StepEnd, ExecuteError> {
        let (began, mark) = (self.operations.elapsed(), self.operations.mark());
        let text = step.action.to_string();
        self.events.emit(&Event::StepStarted {
            index: index + 1,
            count: self.plan.steps.len(),
            step: text.clone(),
        });
        let mut required = self
            .wait_for(&text, &step.requires, REQUIRE_LIMIT, &[])
            .await;
        if required == Progress::Met && step.action.is_destructive() {
            required = self.confirm(&text, &step.requires).await;
        }
        match required {
            Progress::Met => {}
            Progress::Changed(why) => return Ok(StepEnd::Changed(why)),
            Progress::Unmet(why) => {
                return Err(ExecuteError::NotReady {
                    step: text,
                    index,
                    why,
                });
            }
            Progress::Unknown(why) => return Err(inconclusive(index, text, why)),
        }
        if step.action.is_destructive() {
            let fence = self.operations.fence().await;
            fence.map_err(|error| effect_error(index, &text, error))?;
        }
        self.write(index, Mark::Intent)?;
        let effect = self
            .operations
            .perform(&step.action, self.plan, &self.quiet)
            .await;
        let evidence = match effect {
            Ok(evidence) => evidence,
            // It is begun again.
            Err(EffectError::Interrupted(_)) if matches!(step.action, Action::Soak { .. }) => {
                return Ok(StepEnd::Interrupted);
            }
            Err(error) => {
                let failed = self.result(Evidence::default(), began, &mark).await;
                self.write(index, Mark::Failed(failed))?;
                let error = effect_error(index, &text, error);
                return Err(self.undo(index, step, error).await);
            }
        };
        let (limit, waiting) = (Duration::from_secs(step.gate_s), self.operations.elapsed());
        let started: &[String] = match &step.action {
            Action::Start { nodes } => nodes,
            _ => &[],
        };
        let reached = self.wait_for(&text, &step.gate, limit, started).await;
        let waited = self.operations.elapsed().saturating_sub(waiting);
        let result = self.result(evidence, began, &mark).await;
        let is_reached = reached == Progress::Met;
        // On disk first: what was announced is never forgotten.
        let mark = if is_reached {
            Mark::Done(result.clone())
        } else {
            Mark::Failed(result.clone())
        };
        self.write(index, mark)?;
        self.finish(index, text.clone(), &result, is_reached);
        if is_reached {
            return Ok(StepEnd::Done);
        }
        let why = match reached {
            Progress::Unknown(why) => return Err(inconclusive(index, text, why)),
            Progress::Met => String::new(),
            Progress::Unmet(why) | Progress::Changed(why) => why,
        };
        let console = last_lines(&self.operations.console(&step.action));
        let error = ExecuteError::Step {
            step: text,
            index,
            why: format!("waited {} s; last seen: {why}{console}", waited.as_secs()),
            hint: None,
            undone: false,
        };
        Err(self.undo(index, step, error).await)
    }

    /// Returns the evidence and the figures of a step.
    async fn result(&self, evidence: Evidence, began: Duration, mark: &O::Mark) -> StepResult {
        let Evidence {
            snapshot,
            is_unclean,
            notes,
        } = evidence;
        let figures: Figures = self.operations.since(mark).await;
        StepResult {
            elapsed_ms: millis(self.operations.elapsed().saturating_sub(began)),
            is_unclean,
            snapshot: snapshot.map(|(digest, size)| Snapshot { digest, size }),
            figures,
            notes,
        }
    }

    fn finish(&self, index: usize, step: String, result: &StepResult, ok: bool) {
        self.events.emit(&Event::RolloutStep {
            index: index + 1,
            count: self.plan.steps.len(),
            step,
            elapsed_ms: result.elapsed_ms,
            ok,
            requests: result.figures.requests,
            failed: result.figures.failed,
            longest_gap_ms: result.figures.longest_gap_ms,
        });
    }

    /// Undoes the effect of a step that failed. Returns the error of the step.
    async fn undo(&mut self, index: usize, step: &Step, error: ExecuteError) -> ExecuteError {
        let ExecuteError::Step {
            step: text,
            index: position,
            why,
            hint,
            ..
        } = error
        else {
            return error;
        };
        let failed = |why: String, undone: bool| ExecuteError::Step {
            step: text.clone(),
            index: position,
            why,
            hint: hint.clone(),
            undone,
        };
        let Some(undo) = &step.undo else {
            return failed(why, false);
        };
        match self
            .wait_for(&text, &step.undo_requires, UNDO_LIMIT, &[])
            .await
        {
            Progress::Met => {}
            Progress::Unmet(other) | Progress::Unknown(other) | Progress::Changed(other) => {
                return failed(format!("{why}; not undone: {other}"), false);
            }
        }
        if let Err(error) = self.write(index, Mark::UndoIntent) {
            return error;
        }
        let undone = self.operations.perform(undo, self.plan, &self.quiet).await;
        match undone {
            Ok(_) => match self.write(index, Mark::Undone) {
                Ok(()) => failed(why, true),
                Err(error) => error,
            },
            Err(second) => failed(format!("{why}; cannot {undo}: {second}"), false),
        }
    }

    /// Observes again before a node is taken away, if voters are a condition: they come and go.
    async fn confirm(&self, text: &str, conditions: &[Condition]) -> Progress {
        let is_voters = |condition: &Condition| matches!(condition, Condition::Voters { .. });
        if !conditions.iter().any(is_voters) {
            return Progress::Met;
        }
        self.operations.pause(CONFIRM).await;
        self.wait_for(text, conditions, REQUIRE_LIMIT, &[]).await
    }

    /// Observes until all conditions are met, until the limit, or until a node of `started` does
    /// not run any more: nothing starts it again.
    async fn wait_for(
        &self,
        text: &str,
        conditions: &[Condition],
        limit: Duration,
        started: &[String],
    ) -> Progress {
        let began = self.operations.elapsed();
        let mut reported = began;
        loop {
            let (progress, died) = self.observe(conditions, started).await;
            if let Some(node) = died {
                return Progress::Unmet(format!("{node} does not run any more"));
            }
            let now = self.operations.elapsed();
            let waited = now.saturating_sub(began);
            let is_due = now.saturating_sub(reported) >= EVENT_INTERVAL;
            match &progress {
                Progress::Met | Progress::Changed(_) => return progress,
                Progress::Unmet(_) | Progress::Unknown(_) if waited >= limit => return progress,
                Progress::Unmet(seen) | Progress::Unknown(seen) if is_due => {
                    reported = now;
                    self.events.emit(&Event::Waiting {
                        what: text.to_owned(),
                        last_seen: seen.clone(),
                        elapsed_ms: millis(waited),
                        timeout_ms: millis(limit),
                    });
                }
                Progress::Unmet(_) | Progress::Unknown(_) => {}
            }
            self.operations.pause(POLL).await;
        }
    }

    /// Returns the progress of conditions, and the first node of `started` that does not run.
    async fn observe<'s>(
        &self,
        conditions: &[Condition],
        started: &'s [String],
    ) -> (Progress, Option<&'s String>) {
        if conditions.is_empty() {
            return (Progress::Met, None);
        }
        let seen: Observation = self.operations.observe_for(self.plan, conditions).await;
        let answers = conditions
            .iter()
            .map(|condition| condition.evaluate(&seen, self.plan));
        let runs = |node: &&String| seen.nodes.get(*node).is_some_and(|view| view.is_running);
        let died = started.iter().find(|node| !runs(node));
        (Progress::all(answers), died)
    }

    fn write(&mut self, step: usize, mark: Mark) -> Result<(), ExecuteError> {
        let entry = Entry {
            at: (self.options.now)(),
            epoch: self.options.epoch,
            plan: self.digest,
            step,
            text: self.plan.steps[step].action.to_string(),
            mark,
        };
        Ok(self.journal.write(&entry)?)
    }
}
