//! Executions of plans in the model: random faults, and a controller killed at every point.
//! `ROLLOUT_SEED=N` repeats one schedule; `ROLLOUT_COUNT=N` runs more of them.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use testing::delay;
use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::event::Events;
use vault_bake::rollout::planner::{PlanError, Request, plan, plan_abort};
use vault_bake::rollout::{
    Action, Choices, ExecuteError, ExecuteOptions, Outcome, Plan, check, execute,
};

use super::clusters::{BOTH, NEW, OLD, Shape, Tiers, inventory, request};
use super::model::{Controller, Fault, Model, ModelJournal, Sick, State};

pub const THREE: Shape = Shape {
    consul: 3,
    vault: 3,
    leader: 1,
    active: 2,
};

/// The most times that a person resumes.
const MOST_ATTEMPTS: usize = 40;

pub fn model(shape: Shape, seed: u64) -> Model {
    Model(std::cell::RefCell::new(State::new(&inventory(shape), seed)))
}

/// Executes a plan once. Returns `None` if the controller was killed.
pub fn attempt(model: &Model, plan: &Plan, epoch: u64) -> Option<Result<Outcome, ExecuteError>> {
    let controller = Controller {
        model,
        epoch,
        began: model.0.borrow().now,
        purpose: plan.purpose,
    };
    let mut journal = ModelJournal {
        model,
        entries: Vec::new(),
    };
    let now = || Timestamp::UNIX_EPOCH;
    let options = ExecuteOptions {
        epoch,
        stop_before_hand_over: false,
        require_no_failure: false,
        now: &now,
    };
    let (events, interrupt) = (Events::silent(), model.0.borrow().interrupt.clone());
    let execution = execute(
        plan,
        &controller,
        &mut journal,
        &options,
        (&events, &interrupt),
    );
    let mut execution = pin!(execution);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        let poll = execution.as_mut().poll(&mut context);
        if model.0.borrow().killed {
            return None;
        }
        if let Poll::Ready(result) = poll {
            return Some(result);
        }
    }
    panic!("the controller waits for ever");
}

/// Waits until the cluster has a leader and an active node, as a person would.
pub fn recover(model: &Model) {
    for _ in 0..300 {
        let mut state = model.0.borrow_mut();
        if state.active().is_some() && state.leader.is_some() {
            return;
        }
        state.advance(1_000);
    }
    panic!("the cluster does not recover");
}

/// Starts old nodes again that no step replaces, and unseals them, as `cluster up` does.
fn mend(model: &Model, plan: &Plan) {
    let mut state = model.0.borrow_mut();
    let all = &plan.remaining(TierName::Consul) | &plan.remaining(TierName::Vault);
    let old: Vec<String> = all
        .into_iter()
        .filter(|name| !plan.nodes[name].is_new)
        .collect();
    let mended = old.iter().filter(|name| state.power_on(name)).count();
    if mended > 0 {
        state.advance(20_000);
        for name in &old {
            state.unseal(name);
        }
    }
}

pub fn follow(model: &Model, plan_before: &Plan, request: &Request<'_>) -> Plan {
    mend(model, plan_before);
    recover(model);
    let now = model.0.borrow().inventory();
    let request = Request {
        follows: Some(plan_before),
        // A person who resumes names no choice again.
        choices: Choices::default(),
        ..request.clone()
    };
    let next = plan(&now, &request).unwrap();
    assert_eq!(next.choices, plan_before.choices);
    let found: Vec<String> = check(&next, &now).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}\n{:#?}", next.steps);
    next
}

/// Resumes until the rollout is completed, or until a step failed by a sick node.
pub fn drive(model: &Model, mut plan: Plan, request: &Request<'_>) -> Result<Plan, ExecuteError> {
    let mut epoch = 1;
    let mut trace = Vec::new();
    for _ in 0..MOST_ATTEMPTS {
        {
            let mut state = model.0.borrow_mut();
            state.killed = false;
            state.interrupt = vault_bake::wait::Interrupt::default();
        }
        let Some(result) = attempt(model, &plan, epoch) else {
            continue;
        };
        trace.push(format!("{result:?}"));
        match result {
            Ok(Outcome::Completed) => return Ok(plan),
            Ok(Outcome::Resting { .. }) | Err(ExecuteError::LeftNow) => {}
            Err(ExecuteError::TakenOver { epoch: other }) => epoch = other,
            Err(ExecuteError::UnsealNeeded { .. }) => model.0.borrow_mut().shares = true,
            Err(error @ ExecuteError::Step { .. }) if model.0.borrow().sick.is_some() => {
                return Err(error);
            }
            Ok(Outcome::Changed { .. })
            | Err(
                ExecuteError::NotReady { .. }
                | ExecuteError::Inconclusive { .. }
                | ExecuteError::Step { .. },
            ) => plan = follow(model, &plan, request),
            Err(error) => panic!("{error}"),
        }
    }
    trace.dedup();
    let steps: Vec<String> = plan
        .steps
        .iter()
        .map(|step| step.action.to_string())
        .collect();
    panic!("not completed:\n{}\n{steps:#?}", trace.join("\n"));
}

/// Checks the cluster after a completed rollout. Returns the differences.
pub fn differences(model: &Model, plan: &Plan) -> Vec<String> {
    let state = model.0.borrow();
    let mut found = state.broken.clone();
    let now = state.inventory();
    let names: BTreeSet<String> = now.nodes.keys().cloned().collect();
    let wanted = &plan.remaining(TierName::Consul) | &plan.remaining(TierName::Vault);
    if names != wanted {
        found.push(format!("nodes {names:?}, expected {wanted:?}"));
    }
    for (name, node) in &now.nodes {
        if node.manifest != plan.targets[&node.tier].manifest {
            found.push(format!("{name} has another image"));
        }
        if !node.role.serves() || !node.is_in_front {
            found.push(format!("{name} is {}", node.role.name()));
        }
    }
    let servers: BTreeSet<String> = state.voters().into_iter().collect();
    if servers != plan.remaining(TierName::Consul) {
        found.push(format!("voters {servers:?}"));
    }
    if !state.serves() {
        found.push("clients get no answer".to_owned());
    }
    let counts = state.counts;
    if counts.lost > 0 || (counts.failed > 0 && !state.active_was_killed) {
        found.push(format!("{counts:?}"));
    }
    found
}

/// Runs a rollout to its end, and once more if a node failed after its last gate.
pub fn complete(model: &Model, request: &Request<'_>) -> Result<Plan, ExecuteError> {
    let first = plan(&model.0.borrow().inventory(), request).unwrap();
    let mut end = drive(model, first, request)?;
    for _ in 0..2 {
        recover(model);
        let now = model.0.borrow().inventory();
        let is_complete = now.nodes.len()
            == end.remaining(TierName::Consul).len() + end.remaining(TierName::Vault).len()
            && now.nodes.values().all(|node| node.role.serves());
        if !is_complete {
            end = follow(model, &end, request);
            end = drive(model, end, request)?;
        }
    }
    Ok(end)
}

#[test]
fn delays_are_those_that_were_measured() {
    let takeover = |fault: Option<Fault>| {
        let model = model(THREE, 7);
        let mut state = model.0.borrow_mut();
        state.faults = fault.map(|fault| (1, fault)).into_iter().collect();
        drop(state);
        let request = request(THREE, BOTH, NEW);
        let plan = plan(&model.0.borrow().inventory(), &request).unwrap();
        let controller = Controller {
            model: &model,
            epoch: 1,
            began: 0,
            purpose: plan.purpose,
        };
        let mut observed = pin!(vault_bake::rollout::Operations::observe(&controller, &plan));
        let mut context = Context::from_waker(Waker::noop());
        assert!(observed.as_mut().poll(&mut context).is_ready());
        let began = model.0.borrow().now;
        let mut state = model.0.borrow_mut();
        while state.active().is_none() {
            state.advance(10);
        }
        (state.now - began, state.leader.is_some())
    };
    assert_eq!(takeover(None), (0, true));
    let (dead, _) = takeover(Some(Fault::KillActive));
    assert!((20_900..27_000).contains(&dead), "{dead}");
    let (killed, _) = takeover(Some(Fault::KillVaultOfActive));
    assert!((45_040..51_000).contains(&killed), "{killed}");
    let (_, leads) = takeover(Some(Fault::KillLeader));
    assert!(!leads, "a killed leader leads");
    assert_eq!(
        (delay::RELEASED, delay::ELECTION, delay::LEAVE),
        (13, 3_000, 8_500)
    );
}

#[test]
fn an_undisturbed_rollout_fails_no_request() {
    for (tiers, versions) in [
        (BOTH, NEW),
        (BOTH, OLD),
        (
            Tiers {
                consul: true,
                vault: false,
            },
            NEW,
        ),
        (
            Tiers {
                consul: false,
                vault: true,
            },
            NEW,
        ),
    ] {
        for surge in [None, Some(1), Some(2)] {
            let model = model(THREE, 1);
            let mut request = request(THREE, tiers, versions);
            request.choices.max_surge = surge;
            let end = complete(&model, &request).unwrap();
            assert_eq!(differences(&model, &end), Vec::<String>::new());
            let state = model.0.borrow();
            assert!(state.counts.longest_gap_ms <= 1_500, "{:?}", state.counts);
            println!(
                "{tiers:?}, surge {surge:?}: {} s, {} requests, {} failed, longest gap {} ms",
                state.now / 1_000,
                state.counts.requests,
                state.counts.failed,
                state.counts.longest_gap_ms
            );
        }
    }
}

/// Points are each line of the journal, each part of an effect and each observation.
#[test]
fn a_controller_killed_at_any_point_is_resumed_to_the_same_end() {
    for (surge, stride) in [(None, 1), (Some(1), 3)] {
        let mut request = request(THREE, BOTH, NEW);
        request.choices.max_surge = surge;
        let clean = model(THREE, 3);
        let end = complete(&clean, &request).unwrap();
        let points = clean.0.borrow().points;
        let names: Vec<String> = clean.0.borrow().nodes.keys().cloned().collect();
        for point in (1..=points).step_by(stride) {
            let model = model(THREE, 3);
            model
                .0
                .borrow_mut()
                .faults
                .push((point, Fault::KillController));
            let again = complete(&model, &request).unwrap();
            let found = differences(&model, &again);
            assert!(found.is_empty(), "killed at {point}: {found:#?}");
            let nodes: Vec<String> = model.0.borrow().nodes.keys().cloned().collect();
            assert_eq!(nodes, names, "killed at {point}");
        }
        assert!(end.steps.len() > 10);
        println!("every {stride}. of {points} points");
    }
}

/// Whatever happens, new nodes start one by one, and clients use them for the chosen time.
#[test]
fn a_resumed_rollout_keeps_the_choices_of_its_plan() {
    let mut request = request(THREE, BOTH, NEW);
    request.choices.max_surge = Some(1);
    request.choices.soak_s = 33;
    request.choices.version_jump_reason = Some("read the notes".to_owned());
    let mut planned_again = 0;
    for point in (1..400).step_by(9) {
        for fault in [Fault::KillLeader, Fault::DeleteStandby] {
            let model = model(THREE, point);
            model.0.borrow_mut().faults.push((point, fault));
            let first = plan(&model.0.borrow().inventory(), &request).unwrap();
            let last = drive(&model, first.clone(), &request).unwrap();
            planned_again += usize::from(last.parent.is_some());
            assert_eq!(last.choices, first.choices, "{point}: {fault:?}");
            for step in &last.steps {
                match &step.action {
                    Action::Start { nodes } => assert_eq!(nodes.len(), 1, "{point}: {fault:?}"),
                    Action::Soak { seconds } => assert_eq!(*seconds, 33, "{point}: {fault:?}"),
                    _ => {}
                }
            }
        }
    }
    assert!(planned_again > 20, "{planned_again}");
}

#[test]
fn a_new_node_that_is_never_healthy_is_deleted_and_clients_feel_nothing() {
    let vault = [
        Sick::NoBoot,
        Sick::WrongVersion,
        Sick::Sealed,
        Sick::OtherAuthority,
        Sick::NoConsul,
        Sick::FullDisk,
    ];
    let consul = [
        Sick::NoBoot,
        Sick::WrongVersion,
        Sick::NonVoter,
        Sick::OtherAuthority,
        Sick::NoConsul,
        Sick::FullDisk,
    ];
    let mut cases = 0;
    for (tier, sicks) in [(TierName::Vault, vault), (TierName::Consul, consul)] {
        for (sick, number) in sicks.into_iter().flat_map(|sick| [(sick, 1), (sick, 3)]) {
            let model = model(THREE, cases);
            cases += 1;
            let name = format!("dev-{tier}-2-{number}");
            model.0.borrow_mut().sick = Some((name.clone(), sick));
            let request = request(THREE, BOTH, NEW);
            let first = plan(&model.0.borrow().inventory(), &request).unwrap();
            let error = drive(&model, first.clone(), &request).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&name), "{sick:?}: {text}");
            let ExecuteError::Step { undone, .. } = error else {
                panic!("{sick:?}: {text}");
            };
            assert!(undone, "{sick:?} of {name}: {text}");
            // Nothing starts it again, so the limit of the gate is not waited for.
            let at_once = format!("waited 0 s; last seen: {name} does not run any more");
            assert_eq!(text.contains(&at_once), sick == Sick::NoBoot, "{text}");
            model.0.borrow_mut().advance(60_000);
            let state = model.0.borrow();
            let now = state.inventory();
            let old = now
                .nodes
                .iter()
                .filter(|(name, node)| node.tier == tier && !first.nodes[*name].is_new);
            assert_eq!(old.clone().count(), 3);
            assert!(
                old.clone().all(|(_, node)| node.role.serves()),
                "{sick:?}: {now:#?}"
            );
            let is_new = |(name, node): &(&String, &_)| {
                let node: &vault_bake::rollout::planner::InventoryNode = node;
                node.tier == tier && first.nodes[*name].is_new
            };
            assert_eq!(now.nodes.iter().filter(is_new).count(), 0, "{sick:?}");
            assert_eq!(
                (state.broken.len(), state.counts.failed),
                (0, 0),
                "{:?}",
                state.broken
            );
        }
    }
    println!("{cases} new nodes that were never healthy");
}

#[test]
fn missing_key_shares_are_a_state_of_their_own() {
    let model = model(THREE, 5);
    model.0.borrow_mut().shares = false;
    let request = request(THREE, BOTH, NEW);
    let first = plan(&model.0.borrow().inventory(), &request).unwrap();
    let result = attempt(&model, &first, 1).unwrap();
    assert!(
        matches!(result, Err(ExecuteError::UnsealNeeded { .. })),
        "{result:?}"
    );
    let old = |name: &&String| name.starts_with("dev-vault-1-");
    let serving = model.0.borrow().inventory().nodes;
    assert!(
        serving
            .iter()
            .filter(|(name, _)| old(name))
            .all(|(_, node)| node.role.serves())
    );
    let end = complete(&model, &request).unwrap();
    assert_eq!(differences(&model, &end), Vec::<String>::new());
}

/// The old controller wakes up after another one took over: it takes nothing away.
#[test]
fn a_controller_that_lost_its_epoch_takes_nothing_away() {
    let clean = model(THREE, 9);
    let request = request(THREE, BOTH, NEW);
    complete(&clean, &request).unwrap();
    let points = clean.0.borrow().points;
    let mut refused = 0;
    for point in (1..points).step_by(7) {
        let model = model(THREE, 9);
        model.0.borrow_mut().faults.push((point, Fault::TakeOver));
        let first = plan(&model.0.borrow().inventory(), &request).unwrap();
        let result = attempt(&model, &first, 1).unwrap();
        if let Err(ExecuteError::TakenOver { epoch }) = result {
            assert_eq!(epoch, 2);
            refused += 1;
        }
        let end = drive(&model, first, &request).unwrap();
        assert_eq!(
            differences(&model, &end),
            Vec::<String>::new(),
            "point {point}"
        );
    }
    assert!(refused > 10);
    println!("{refused} controllers with an old epoch");
}

/// An abort from any point ends with the old Vault nodes, or is refused after the hand-over.
#[test]
fn an_abort_from_any_point_goes_back_or_is_refused() {
    let clean = model(THREE, 4);
    let request = request(THREE, BOTH, NEW);
    complete(&clean, &request).unwrap();
    let points = clean.0.borrow().points;
    let (mut back, mut refused) = (0, 0);
    for point in (1..=points).step_by(3) {
        let model = model(THREE, 4);
        model
            .0
            .borrow_mut()
            .faults
            .push((point, Fault::KillController));
        let first = plan(&model.0.borrow().inventory(), &request).unwrap();
        if attempt(&model, &first, 1).is_some() {
            continue;
        }
        model.0.borrow_mut().killed = false;
        recover(&model);
        let mut last = first;
        let mut ended = false;
        for _ in 0..10 {
            let now = model.0.borrow().inventory();
            let abort = match plan_abort(&now, &last) {
                Ok(abort) => abort,
                Err(PlanError::HandedOver { .. } | PlanError::OldDeleted { .. }) => break,
                Err(error) => panic!("{point}: {error}"),
            };
            let found: Vec<String> = check(&abort, &now)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert!(found.is_empty(), "{point}: {found:#?}");
            let result = attempt(&model, &abort, 1).unwrap();
            last = abort;
            match result {
                Ok(Outcome::Completed) => {
                    ended = true;
                    break;
                }
                Ok(Outcome::Changed { .. }) | Err(ExecuteError::NotReady { .. }) => recover(&model),
                other => panic!("{point}: {other:?}"),
            }
        }
        let state = model.0.borrow();
        if !ended {
            refused += 1;
            continue;
        }
        back += 1;
        let now = state.inventory();
        let vault: Vec<&str> = now
            .nodes
            .iter()
            .filter(|(_, node)| node.tier == TierName::Vault && node.role.serves())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            vault,
            ["dev-vault-1-1", "dev-vault-1-2", "dev-vault-1-3"],
            "{point}"
        );
        let servers: BTreeSet<String> = state.voters().into_iter().collect();
        let consul: BTreeSet<String> = now
            .nodes
            .keys()
            .filter(|name| name.contains("consul"))
            .cloned()
            .collect();
        assert_eq!(servers, consul, "{point}");
        assert_eq!(servers.len(), 3, "{point}");
        assert!(
            now.nodes.values().all(|node| node.role != Role::Stopped),
            "{point}"
        );
        assert_eq!(
            (state.broken.len(), state.counts.failed),
            (0, 0),
            "{point}: {:?}",
            state.broken
        );
    }
    assert!(back > 20 && refused > 5, "{back} {refused}");
    println!("{back} aborts, {refused} refused");
}

/// Runs one random schedule. Returns the differences.
fn schedule(seed: u64) -> (Vec<(u64, Fault)>, Vec<String>) {
    let mut random = State::new(&inventory(THREE), seed.wrapping_add(1));
    let mut below = |limit: u64| random.random(limit);
    let consul = if below(4) == 0 { 5 } else { 3 };
    let vault = u32::try_from(2 + below(3)).unwrap();
    let shape = Shape {
        consul,
        vault,
        leader: u32::try_from(1 + below(u64::from(consul))).unwrap(),
        active: u32::try_from(1 + below(u64::from(vault))).unwrap(),
    };
    let tiers = match below(4) {
        0 => Tiers {
            consul: true,
            vault: false,
        },
        1 => Tiers {
            consul: false,
            vault: true,
        },
        _ => BOTH,
    };
    let mut request = request(shape, tiers, if below(3) == 0 { OLD } else { NEW });
    request.choices.max_surge = [None, Some(1), Some(2)][usize::try_from(below(3)).unwrap()];
    let harmless = [
        Fault::KillController,
        Fault::Interrupt,
        Fault::InterruptTwice,
        Fault::TakeOver,
        Fault::Blind(20_000),
        Fault::Blind(200_000),
    ];
    let hard = [
        Fault::KillActive,
        Fault::KillVaultOfActive,
        Fault::KillLeader,
        Fault::KillFollower,
        Fault::DeleteStandby,
    ];
    let mut faults = Vec::new();
    for _ in 0..below(4) {
        let kind = usize::try_from(below(harmless.len() as u64)).unwrap();
        faults.push((1 + below(600), harmless[kind]));
    }
    if below(2) == 0 {
        let kind = usize::try_from(below(hard.len() as u64)).unwrap();
        faults.push((1 + below(500), hard[kind]));
    }
    let model = model(shape, seed);
    model.0.borrow_mut().faults.clone_from(&faults);
    let end = complete(&model, &request).unwrap();
    (faults, differences(&model, &end))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person chooses the schedules of a test"
)]
fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run_schedules(seeds: std::ops::Range<u64>) {
    let seeds = match chosen("ROLLOUT_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            seeds.start..seeds.start + chosen("ROLLOUT_COUNT").unwrap_or(seeds.end - seeds.start)
        }
    };
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| schedule(seed));
        let Ok((faults, found)) = run else {
            panic!("ROLLOUT_SEED={seed} panicked");
        };
        assert!(
            found.is_empty(),
            "ROLLOUT_SEED={seed}, {faults:?}: {found:#?}"
        );
    }
    println!("{count} rollouts with random faults");
}

#[test]
fn rollouts_with_random_faults_end_at_the_target_without_a_failed_request() {
    run_schedules(0..1_000);
    // A new node whose controller ended before it sent clients to it.
    run_schedules(1_020_297..1_020_298);
}

mod exhaustive {
    #[test]
    fn many_rollouts_with_random_faults_end_at_the_target() {
        super::run_schedules(1_000_000..1_040_000);
    }
}
