//! Plans of the way back: proved by the checker from every point, also after crashes.

use proptest::prelude::*;
use vault_bake::cluster::file::TierName;
use vault_bake::rollout::planner::{Inventory, PlanError, plan, plan_abort};
use vault_bake::rollout::{Action, Condition, Plan, check};

use super::checker::{Disturbance, advance, disturb, disturbances, has_heads, shapes, violations};
use super::clusters::{BOTH, NEW, OLD, Shape, Tiers, inventory, request};

const THREE: Shape = Shape {
    consul: 3,
    vault: 3,
    leader: 1,
    active: 2,
};

#[derive(Clone, Copy, Debug)]
struct Random {
    shape: Shape,
    tiers: Tiers,
    surge: Option<u32>,
    same_version: bool,
    /// The steps that the cluster has behind it of the first plan, of one that follows, and of two
    /// aborts; each time with what happens after them.
    parts: [(usize, Disturbance); 4],
}

fn randoms() -> impl Strategy<Value = Random> {
    let part = || (0_usize..30, disturbances());
    (
        (shapes(), any::<bool>(), any::<bool>()),
        (prop::option::of(1_u32..4), any::<bool>()),
        [part(), part(), part(), part()],
    )
        .prop_map(
            |((shape, consul, vault), (surge, same_version), parts)| Random {
                shape,
                tiers: Tiers { consul, vault },
                surge,
                same_version,
                parts,
            },
        )
}

/// Returns the way back, or `None` if it is refused in words.
fn back(now: &Inventory, plan: &Plan) -> Option<Plan> {
    match plan_abort(now, plan) {
        Ok(back) => Some(back),
        Err(
            PlanError::HandedOver { .. }
            | PlanError::OldDeleted { .. }
            | PlanError::NoActiveNode
            | PlanError::NoLeader,
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// From a plan, from one that followed, and from an abort that was itself interrupted.
    #[test]
    fn every_way_back_is_proved(random in randoms()) {
        let mut now = inventory(random.shape);
        let versions = if random.same_version { OLD } else { NEW };
        let mut request = request(random.shape, random.tiers, versions);
        request.choices.max_surge = random.surge;
        let mut last = plan(&now, &request).unwrap();
        for (part, (done, disturbance)) in random.parts.iter().enumerate() {
            advance(&mut now, &last, *done);
            disturb(&mut now, disturbance);
            prop_assume!(has_heads(&now));
            let back = back(&now, &last);
            if let Some(back) = &back {
                let found = violations(back, &now);
                prop_assert!(found.is_empty(), "{part}: {:#?}\n{:#?}\n{:#?}", found, back.steps, now);
                prop_assert_eq!(&back.choices, &last.choices);
                prop_assert_eq!(&back.before, &last.before);
            }
            last = match (part, back) {
                (0, _) => {
                    let mut again = request.clone();
                    again.follows = Some(&last);
                    plan(&now, &again).unwrap()
                }
                (_, Some(back)) => back,
                (_, None) => return Ok(()),
            };
        }
    }
}

/// Returns an abort after most steps, and the cluster at that moment.
fn late(shape: Shape) -> (Plan, Inventory) {
    let mut now = inventory(shape);
    let first = plan(&now, &request(shape, BOTH, NEW)).unwrap();
    let stop = |step: &vault_bake::rollout::Step| matches!(step.action, Action::Stop { .. });
    let at = first.steps.iter().position(stop).unwrap();
    // The servers have not left: the way back changes both tiers.
    let mut half = first.clone();
    half.steps
        .retain(|step| !matches!(step.action, Action::Leave { .. }));
    let left = first.steps.len() - half.steps.len();
    advance(&mut now, &half, at - left + 1);
    let back = plan_abort(&now, &first).unwrap();
    assert_eq!(violations(&back, &now), Vec::<String>::new());
    (back, now)
}

#[test]
fn an_abort_from_every_step_is_proved_and_so_is_the_next_one() {
    let (mut aborts, mut refused) = (0, 0);
    for servers in [1, 3, 5] {
        let shape = Shape {
            consul: servers,
            ..THREE
        };
        for (surge, versions) in [(None, NEW), (Some(1), NEW), (Some(2), OLD)] {
            let mut request = request(shape, BOTH, versions);
            request.choices.max_surge = surge;
            let first = plan(&inventory(shape), &request).unwrap();
            for done in 0..=first.steps.len() {
                let mut now = inventory(shape);
                advance(&mut now, &first, done);
                let calm = Disturbance::default();
                disturb(&mut now, &calm);
                let Some(abort) = back(&now, &first) else {
                    refused += 1;
                    continue;
                };
                assert_eq!(violations(&abort, &now), Vec::<String>::new(), "{done}");
                aborts += 1;
                for more in 0..=abort.steps.len() {
                    let mut now = now.clone();
                    advance(&mut now, &abort, more);
                    disturb(&mut now, &calm);
                    let again = plan_abort(&now, &abort).unwrap();
                    assert_eq!(
                        violations(&again, &now),
                        Vec::<String>::new(),
                        "{done} {more}"
                    );
                    aborts += 1;
                }
            }
        }
    }
    assert!(aborts > 500 && refused > 20, "{aborts} {refused}");
    println!("{aborts} aborts, {refused} refused");
}

#[test]
fn an_abort_that_lacks_any_condition_or_step_is_refused() {
    let (back, now) = late(THREE);
    let refused = |plan: &Plan, what: &dyn std::fmt::Debug| {
        assert!(!check(plan, &now).is_empty(), "{what:?}");
    };
    for index in 0..back.steps.len() {
        for at in 0..back.steps[index].requires.len() {
            let mut plan = back.clone();
            let dropped = plan.steps[index].requires.remove(at);
            refused(&plan, &dropped);
        }
        for at in 0..back.steps[index].gate.len() {
            let mut plan = back.clone();
            let dropped = plan.steps[index].gate.remove(at);
            refused(&plan, &dropped);
        }
        let mut plan = back.clone();
        let dropped = plan.steps.remove(index);
        refused(&plan, &dropped.action);
    }
}

type Mutation = fn(&mut Plan);

fn step<'a>(plan: &'a mut Plan, part: &str) -> &'a mut vault_bake::rollout::Step {
    let mut steps = plan.steps.iter_mut();
    steps
        .find(|step| step.action.to_string().contains(part))
        .unwrap()
}

fn last(plan: &mut Plan) -> &mut Vec<String> {
    match &mut plan.steps.last_mut().unwrap().action {
        Action::Delete { nodes } => nodes,
        other => panic!("{other}"),
    }
}

#[test]
fn every_wrong_abort_is_refused_with_its_reason() {
    let table: &[(&str, Mutation)] = &[
        ("an abort does not watch the new nodes for 5 s", |plan| {
            step(plan, "delete").action = Action::Soak { seconds: 5 };
        }),
        ("an abort does not start dev-vault-1-1", |plan| {
            step(plan, "start dev-vault-1-1").action = Action::Start {
                nodes: vec!["dev-vault-1-1".to_owned()],
            };
        }),
        ("dev-vault-1-2 is old and would stop", |plan| {
            step(plan, "stop dev-vault-2-1").action = Action::Stop {
                nodes: vec!["dev-vault-1-2".to_owned()],
            };
        }),
        ("dev-vault-1-2 is active: it needs a hand-over", |plan| {
            step(plan, "stop dev-vault-2-1").action = Action::Stop {
                nodes: vec!["dev-vault-1-2".to_owned()],
            };
        }),
        ("dev-vault-2-1 is new and goes", |plan| {
            step(plan, "start dev-vault-1-1").action = Action::Restart {
                nodes: vec!["dev-vault-2-1".to_owned()],
            };
        }),
        ("would remain, expected dev-vault-1-1", |plan| {
            last(plan).push("dev-vault-1-1".to_owned());
        }),
        ("would remain, expected dev-vault-1-1", |plan| {
            last(plan).retain(|name| name != "dev-vault-2-1");
        }),
        ("2 servers that vote would remain, expected 3", |plan| {
            last(plan).push("dev-consul-1-2".to_owned());
        }),
        (
            "dev-consul-2-1 leaves, and an old server does not vote",
            |plan| {
                let names = last(plan);
                names.push("dev-consul-1-2".to_owned());
                names.retain(|name| name != "dev-consul-2-3");
            },
        ),
        ("the tiers change in the wrong order", |plan| {
            let at = plan
                .steps
                .iter()
                .position(|step| matches!(step.action, Action::Leave { .. }));
            let leave = plan.steps.remove(at.unwrap());
            plan.steps.insert(0, leave);
        }),
        ("lacks the condition: the active node", |plan| {
            let requires = &mut step(plan, "stop dev-vault-2-1").requires;
            requires.retain(|one| !matches!(one, Condition::Active { .. }));
        }),
        ("lacks the condition: the servers that vote", |plan| {
            let requires = &mut step(plan, "stop dev-vault-2-1").requires;
            requires.retain(|one| !matches!(one, Condition::Voters { .. }));
        }),
        ("does not exist, and an abort makes no node", |plan| {
            let mut node = plan.nodes["dev-vault-2-1"].clone();
            node.number = 9;
            node.address = "10.77.0.99".parse().unwrap();
            plan.nodes.insert("dev-vault-2-9".to_owned(), node);
        }),
    ];
    let (back, now) = late(THREE);
    for (expected, mutate) in table {
        let mut wrong = back.clone();
        mutate(&mut wrong);
        let found = violations(&wrong, &now).join("\n");
        assert!(
            found.contains(expected),
            "expected: {expected}\nfound:\n{found}"
        );
    }
}

/// A hand-over back to an older Vault is no abort, whatever the planner says.
#[test]
fn an_abort_to_an_older_vault_is_refused_by_the_checker_too() {
    let mut now = inventory(THREE);
    let first = plan(&now, &request(THREE, BOTH, OLD)).unwrap();
    advance(&mut now, &first, first.steps.len() - 2);
    disturb(&mut now, &Disturbance::default());
    let mut back = plan_abort(&now, &first).unwrap();
    assert_eq!(violations(&back, &now), Vec::<String>::new());
    let newer = || ("vault".to_owned(), NEW.vault.to_owned());
    for name in back.names(TierName::Vault, true) {
        back.nodes
            .get_mut(&name)
            .unwrap()
            .releases
            .extend([newer()]);
        now.nodes.get_mut(&name).unwrap().releases.extend([newer()]);
    }
    let target = back.targets.get_mut(&TierName::Vault).unwrap();
    target.releases.extend([newer()]);
    let found = violations(&back, &now).join("\n");
    assert!(
        found.contains("Vault's data would go back a version"),
        "{found}"
    );
}
