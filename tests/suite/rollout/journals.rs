//! The journal of a rollout, and what the record and the status say from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use jiff::Timestamp;
use vault_bake::cluster::file::TierName;
use vault_bake::manifest::{RolloutOutcome, RolloutRecord, StepResult, Tool};
use vault_bake::rollout::journal::{Entry, Journal as _, JournalFile, Mark, StepResult as Reached};
use vault_bake::rollout::planner::plan;
use vault_bake::rollout::{Figures, Plan, can_abort, plan_abort, record};

use super::checker::advance;
use super::clusters::{BOTH, NEW, OLD, Versions, inventory, request};
use super::executions::THREE;

fn now() -> Timestamp {
    "2026-11-30T10:00:00Z".parse().unwrap()
}

fn planned(versions: Versions) -> Plan {
    plan(&inventory(THREE), &request(THREE, BOTH, versions)).unwrap()
}

fn entry(plan: &Plan, step: usize, mark: Mark) -> Entry {
    Entry {
        at: now(),
        epoch: 1,
        plan: plan.digest(),
        step,
        text: plan.steps[step].action.to_string(),
        mark,
    }
}

fn done(requests: u64) -> Mark {
    Mark::Done(Reached {
        elapsed_ms: 1_000,
        figures: Figures {
            requests,
            ..Figures::default()
        },
        ..Reached::default()
    })
}

/// Lines that a damaged disk changed cost their figures, and nothing else.
#[test]
fn a_damaged_line_of_a_journal_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.jsonl");
    let plan = planned(NEW);
    let (first, second) = (entry(&plan, 0, Mark::Intent), entry(&plan, 0, done(5)));
    let (mut journal, found) = JournalFile::open(&path).unwrap();
    assert_eq!((found.entries.len(), found.damaged.len()), (0, 0));
    journal.write(&first).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\0\0\0\n{\"at\": 5}\n").unwrap();
    journal.write(&second).unwrap();
    // The crash of a controller cut this line off.
    file.write_all(b"{\"at\":\"2026").unwrap();

    let found = JournalFile::read(&path).unwrap();
    assert_eq!(found.entries, [first.clone(), second.clone()]);
    let place = |line: u32| format!("line {line} of the journal {} is damaged: ", path.display());
    assert_eq!(found.damaged.len(), 2, "{:?}", found.damaged);
    assert!(
        found.damaged[0].starts_with(&place(2)),
        "{:?}",
        found.damaged
    );
    assert!(
        found.damaged[1].starts_with(&place(3)),
        "{:?}",
        found.damaged
    );

    let (mut journal, _) = JournalFile::open(&path).unwrap();
    journal.write(&first).unwrap();
    let found = JournalFile::read(&path).unwrap();
    assert_eq!(found.entries, [first.clone(), second, first]);
    assert_eq!(found.damaged.len(), 2);
}

fn recorded(plan: &Plan, entries: &[Entry], is_damaged: bool) -> RolloutRecord {
    record::build(&record::Parts {
        outcome: RolloutOutcome::Completed,
        first: plan.digest(),
        epochs: Vec::new(),
        plans: &BTreeMap::from([(plan.digest(), plan.clone())]),
        entries,
        is_damaged,
        tool: &Tool {
            version: "1.0.0".to_owned(),
            binary_sha256: None,
        },
        now: now(),
    })
}

/// A controller that is killed during a step leaves an intent alone. The record has the step
/// nevertheless, once.
#[test]
fn a_step_whose_controller_was_killed_is_in_the_record() {
    let plan = planned(NEW);
    let hand_over = plan.steps.len() - 3;
    let entries = [
        entry(&plan, 0, Mark::Started),
        entry(&plan, 0, Mark::Intent),
        entry(&plan, 0, Mark::Started),
        entry(&plan, 0, Mark::Intent),
        entry(&plan, 0, done(7)),
        entry(&plan, hand_over, Mark::Intent),
        entry(&plan, 0, Mark::Started),
        entry(&plan, hand_over, Mark::Skipped),
        entry(&plan, hand_over + 1, Mark::Intent),
        entry(&plan, hand_over + 1, done(9)),
    ];
    let record = recorded(&plan, &entries, false);
    let steps: Vec<(&str, StepResult, u64)> = record
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.result, step.requests))
        .collect();
    let expected = [
        ("save-snapshot", StepResult::Done, 7),
        ("hand-over", StepResult::Observed, 0),
        ("soak", StepResult::Done, 9),
    ];
    assert_eq!(steps, expected);
    assert_eq!(record.notes, Vec::<String>::new());
    let record = recorded(&plan, &entries, true);
    let note = "the journal was damaged: figures of some steps are lost";
    assert_eq!(record.notes, [note]);
    let record = recorded(&plan, &[], false);
    let note = "the journal was lost, and with it the figures of all steps";
    assert_eq!(record.notes, [note]);
}

/// A controller that was killed, or left at once, did not say what it measured as a whole: its steps
/// count. One that ended in order did, and its steps are a part of that.
#[test]
fn the_canary_of_a_record_counts_each_request_once() {
    let plan = planned(NEW);
    let measured = Mark::Measured {
        figures: Figures {
            requests: 100,
            failed: 1,
            ..Figures::default()
        },
        elapsed_ms: 5_000,
    };
    let started = || entry(&plan, 0, Mark::Started);
    let left = [
        started(),
        entry(&plan, 0, done(7)),
        entry(&plan, 1, done(5)),
    ];
    let ended = [
        started(),
        entry(&plan, 2, done(9)),
        entry(&plan, 0, measured),
    ];
    let sums = |parts: &[&[Entry]]| {
        let canary = recorded(&plan, &parts.concat(), false).canary.unwrap();
        (canary.requests, canary.failed)
    };
    assert_eq!(sums(&[&left]), (12, 0));
    assert_eq!(sums(&[&ended]), (100, 1));
    assert_eq!(sums(&[&left, &ended]), (112, 1));
    assert_eq!(sums(&[&ended, &left]), (112, 1));
}

/// `rollout status` offers the way back as long as `rollout abort` would take it.
#[test]
fn an_abort_is_offered_until_a_new_version_may_have_the_data() {
    let upgrade = planned(NEW);
    let hand_over = upgrade.steps.len() - 3;
    let begun = [entry(&upgrade, hand_over, Mark::Intent)];
    let rests = Mark::Resting {
        why: "interrupted".to_owned(),
    };
    let before = [
        entry(&upgrade, hand_over - 1, done(3)),
        entry(&upgrade, hand_over, rests),
    ];
    assert!(can_abort(&upgrade, &[]));
    assert!(can_abort(&upgrade, &before));
    assert!(!can_abort(&upgrade, &begun));
    // Images of the same version give the data back.
    let same = planned(OLD);
    assert!(can_abort(&same, &[entry(&same, hand_over, Mark::Intent)]));

    // A plan that follows the hand-over has none.
    let mut now = inventory(THREE);
    advance(&mut now, &upgrade, hand_over + 1);
    let active = now.nodes.get_mut("dev-vault-2-1").unwrap();
    active.role = vault_bake::cluster::Role::Active;
    let mut again = request(THREE, BOTH, NEW);
    again.follows = Some(&upgrade);
    let next = plan(&now, &again).unwrap();
    assert!(!next.names(TierName::Vault, true).is_empty());
    assert!(!can_abort(&next, &[]));
    assert!(plan_abort(&now, &upgrade).is_err());
}
