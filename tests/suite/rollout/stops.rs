//! What stops a rollout in the model before its next effect: a revocation, a store that cannot be
//! reached, a full disk, a user, and a computer that is lost.

use vault_bake::rollout::planner::{PlanError, Request, plan, plan_abort};
use vault_bake::rollout::{Action, ExecuteError, Outcome, Plan, Rest, Step, check};
use vault_bake::wait::Interrupt;

use super::clusters::{BOTH, NEW, request};
use super::executions::{THREE, attempt, complete, differences, drive, follow, model, recover};
use super::model::{Fault, Model};

const SEED: u64 = 8;

/// Returns the number of points of a rollout that nothing stops.
fn points(request: &Request<'_>) -> u64 {
    let clean = model(THREE, SEED);
    complete(&clean, request).unwrap();
    let points = clean.0.borrow().points;
    assert!(points > 200, "{points}");
    points
}

/// Executes a new plan, with a fault at a point.
fn disturbed(point: u64, fault: Fault, request: &Request<'_>) -> (Model, Plan) {
    let model = model(THREE, SEED);
    model.0.borrow_mut().faults.push((point, fault));
    let first = plan(&model.0.borrow().inventory(), request).unwrap();
    (model, first)
}

/// Returns the effects since the fault that take a node away, and all of them.
fn effects_since(model: &Model) -> (usize, usize) {
    let state = model.0.borrow();
    let late = state.effects.iter().filter(|(is_calm, _)| !is_calm);
    let kinds: Vec<&str> = late.map(|(_, kind)| *kind).collect();
    let takes = |kind: &&&str| ["leave", "stop", "hand-over", "delete"].contains(*kind);
    (kinds.iter().filter(takes).count(), kinds.len())
}

fn none() -> Vec<String> {
    Vec::new()
}

/// Goes back until the old nodes serve. Returns whether that was possible.
fn go_back(model: &Model, first: &Plan) -> bool {
    let mut last = first.clone();
    for _ in 0..10 {
        let now = model.0.borrow().inventory();
        let abort = match plan_abort(&now, &last) {
            Ok(abort) => abort,
            Err(PlanError::HandedOver { .. } | PlanError::OldDeleted { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(check(&abort, &now), []);
        let result = attempt(model, &abort, 1).unwrap();
        last = abort;
        match result {
            Ok(Outcome::Completed) => return true,
            Ok(Outcome::Changed { .. }) | Err(ExecuteError::NotReady { .. }) => recover(model),
            other => panic!("{other:?}"),
        }
    }
    panic!("the way back has no end");
}

/// One step may have asked the store just before the revocation.
#[test]
fn a_revoked_target_stops_the_rollout_before_the_next_node_goes() {
    let request = request(THREE, BOTH, NEW);
    let (mut continued, mut back, mut stopped) = (0, 0, 0);
    for point in (1..=points(&request)).step_by(3) {
        let (model, first) = disturbed(point, Fault::Revoke, &request);
        let result = attempt(&model, &first, 1).unwrap();
        let (taken, _) = effects_since(&model);
        assert!(taken <= 1, "{point}: {taken}");
        let error = match result {
            Ok(Outcome::Completed) => continue,
            Err(error @ ExecuteError::Refused { .. }) => error,
            other => panic!("{point}: {other:?}"),
        };
        stopped += 1;
        let hint = error.hint(&first).unwrap();
        assert!(hint.contains("vault-bake rollout abort"), "{hint}");
        assert!(model.0.borrow().serves(), "{point}");
        // It stays refused, and takes no node away.
        let again = attempt(&model, &first, 1).unwrap();
        assert!(
            matches!(again, Err(ExecuteError::Refused { .. })),
            "{again:?}"
        );
        assert_eq!(effects_since(&model).0, taken, "{point}");
        if point % 2 == 0 && go_back(&model, &first) {
            back += 1;
            let state = model.0.borrow();
            assert!(state.serves() && state.broken.is_empty(), "{point}");
            continue;
        }
        model.0.borrow_mut().is_revoked = false;
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(differences(&model, &end), none(), "{point}");
        continued += 1;
    }
    assert!(back > 10 && continued > 10, "{back} {continued}");
    println!("{stopped} stopped, {continued} continued, {back} went back");
}

#[test]
fn a_store_that_cannot_be_reached_stops_the_rollout_before_the_next_node_goes() {
    let request = request(THREE, BOTH, NEW);
    let mut stopped = 0;
    for point in (1..=points(&request)).step_by(5) {
        let (model, first) = disturbed(point, Fault::LoseStore, &request);
        let result = attempt(&model, &first, 1).unwrap();
        assert!(effects_since(&model).0 <= 1, "{point}");
        match result {
            Ok(Outcome::Completed) => continue,
            Err(ExecuteError::Inconclusive { .. }) => stopped += 1,
            other => panic!("{point}: {other:?}"),
        }
        assert!(model.0.borrow().serves(), "{point}");
        model.0.borrow_mut().has_no_store = false;
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(differences(&model, &end), none(), "{point}");
    }
    assert!(stopped > 20, "{stopped}");
}

/// One effect may have its line in the journal just before the disk is full.
#[test]
fn a_full_disk_stops_the_rollout_before_the_next_effect() {
    let request = request(THREE, BOTH, NEW);
    let mut stopped = 0;
    for point in (1..=points(&request)).step_by(5) {
        let (model, first) = disturbed(point, Fault::FillDisk, &request);
        let result = attempt(&model, &first, 1).unwrap();
        assert!(effects_since(&model).1 <= 1, "{point}");
        match result {
            Ok(Outcome::Completed) => continue,
            Err(error @ ExecuteError::Journal(_)) => {
                let hint = error.hint(&first).unwrap();
                assert!(hint.contains("Free space"), "{hint}");
                stopped += 1;
            }
            other => panic!("{point}: {other:?}"),
        }
        assert!(model.0.borrow().serves(), "{point}");
        model.0.borrow_mut().is_disk_full = false;
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(differences(&model, &end), none(), "{point}");
    }
    assert!(stopped > 40, "{stopped}");
}

/// At a resting point the cluster serves: one node is active, and all servers that vote run.
#[test]
fn an_interrupt_at_any_point_rests_and_a_second_one_leaves() {
    let request = request(THREE, BOTH, NEW);
    let (mut rested, mut left) = (0, 0);
    for point in (1..=points(&request)).step_by(4) {
        let (model, first) = disturbed(point, Fault::Interrupt, &request);
        match attempt(&model, &first, 1).unwrap() {
            Ok(Outcome::Completed) => {}
            Ok(Outcome::Resting { why, .. }) => {
                assert_eq!(why, Rest::Interrupted);
                rested += 1;
                let state = model.0.borrow();
                assert!(state.serves() && state.broken.is_empty(), "{point}");
                let now = state.inventory();
                let voters = state.voters();
                assert!((3..=6).contains(&voters.len()), "{point}: {voters:?}");
                let all_run = voters.iter().all(|name| now.nodes[name].is_running);
                assert!(all_run, "{point}: {voters:?}");
            }
            other => panic!("{point}: {other:?}"),
        }
        model.0.borrow_mut().interrupt = Interrupt::default();
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(differences(&model, &end), none(), "{point}");

        let (model, first) = disturbed(point, Fault::InterruptTwice, &request);
        match attempt(&model, &first, 1).unwrap() {
            // Both came right before a resting point.
            Ok(Outcome::Completed | Outcome::Resting { .. }) => {}
            Err(ExecuteError::LeftNow) => left += 1,
            other => panic!("{point}: {other:?}"),
        }
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(differences(&model, &end), none(), "{point}");
    }
    assert!(rested > 40 && left > 40, "{rested} {left}");
}

/// Neither journal nor snapshot survive: the next controller has the plan of the log alone.
#[test]
fn a_controller_killed_twice_is_resumed_elsewhere_with_the_store_only() {
    let request = request(THREE, BOTH, NEW);
    let all = points(&request);
    let mut killed = 0;
    for (first_kill, second_kill) in (1..all).step_by(7).map(|at| (at, at + 1 + at % 90)) {
        let (model, first) = disturbed(first_kill, Fault::KillController, &request);
        let fault = (second_kill, Fault::KillController);
        model.0.borrow_mut().faults.push(fault);
        let mut next = first.clone();
        let mut end = None;
        for _ in 0..10 {
            let epoch = model.0.borrow().epoch;
            match attempt(&model, &next, epoch) {
                None => {
                    killed += 1;
                    next = first.clone();
                    let mut state = model.0.borrow_mut();
                    state.killed = false;
                    state.lose_folder();
                    state.epoch += 1;
                }
                Some(Ok(Outcome::Completed)) => {
                    end = Some(next.clone());
                    break;
                }
                Some(Ok(Outcome::Changed { .. }) | Err(ExecuteError::NotReady { .. })) => {
                    next = follow(&model, &next, &request);
                }
                Some(other) => panic!("{first_kill}, {second_kill}: {other:?}"),
            }
        }
        let end = end.unwrap_or_else(|| panic!("{first_kill}, {second_kill}: not completed"));
        let found = differences(&model, &end);
        assert_eq!(found, none(), "{first_kill}, {second_kill}");
    }
    assert!(killed > 60, "{killed}");
    println!("{killed} controllers killed");
}

/// Nobody needs the time of watching that is left: the controller rests at once, and the next one
/// watches for the whole time.
#[test]
fn an_interrupt_in_the_soak_rests_before_it() {
    let request = request(THREE, BOTH, NEW);
    let is_soak = |plan: &Plan, next: usize| matches!(plan.steps[next].action, Action::Soak { .. });
    let mut cut = 0;
    for point in 1..=points(&request) {
        let (model, first) = disturbed(point, Fault::Interrupt, &request);
        let result = attempt(&model, &first, 1).unwrap();
        let Ok(Outcome::Resting { next, .. }) = result else {
            continue;
        };
        if !is_soak(&first, next) {
            continue;
        }
        cut += 1;
        model.0.borrow_mut().interrupt = Interrupt::default();
        let before = model.0.borrow().now;
        let again = attempt(&model, &first, 1).unwrap();
        assert!(matches!(again, Ok(Outcome::Completed)), "{again:?}");
        let Action::Soak { seconds } = first.steps[next].action else {
            unreachable!()
        };
        let took = model.0.borrow().now - before;
        assert!(took >= seconds * 1_000, "{took} ms");
    }
    assert!(cut > 0, "no interrupt came in the soak");
}

/// A hint has the name of the cluster, the verb that was used, and an abort only where one goes back.
#[test]
fn a_hint_fits_the_plan_and_the_step() {
    let request = request(THREE, BOTH, NEW);
    let (model, plan) = disturbed(1, Fault::Interrupt, &request);
    let back = plan_abort(&model.0.borrow().inventory(), &plan).unwrap();
    let hand_over = |step: &Step| matches!(step.action, Action::HandOver { .. });
    let hand_over = plan.steps.iter().position(hand_over).unwrap();
    let step = |index, undone| ExecuteError::Step {
        step: "do it".to_owned(),
        index,
        why: "it failed".to_owned(),
        hint: None,
        undone,
    };
    let unseal = || ExecuteError::UnsealNeeded {
        node: "dev-vault-2-1".to_owned(),
    };
    let not_ready = |index| ExecuteError::NotReady {
        step: "do it".to_owned(),
        index,
        why: "not yet".to_owned(),
    };
    let hints = [
        step(0, true).hint(&plan),
        step(hand_over - 1, false).hint(&plan),
        step(hand_over, false).hint(&plan),
        not_ready(hand_over).hint(&plan),
        not_ready(hand_over + 1).hint(&plan),
        unseal().hint(&plan),
        unseal().hint(&back),
        ExecuteError::LeftNow.hint(&plan),
    ];
    let hints: Vec<String> = hints.into_iter().map(Option::unwrap).collect();
    insta::assert_snapshot!("hints", hints.join("\n"));
}
