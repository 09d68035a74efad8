//! `rollout plan`: prints the steps of a rollout, and what would refuse it.

use vault_bake::cluster::Images;
use vault_bake::rollout::plan::Purpose;
use vault_bake::rollout::{Options, Prepared, plan};
use vault_bake::store::Allow;
use vault_bake::terminal::counted;

use super::work::{image_refs, jump_reason, nothing_to_do};
use crate::args::rollout::Plan;
use crate::commands::cluster::up::read_shares;
use crate::commands::cluster::{context, open};
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Plan) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    let store = invocation.open_store().await?;
    let trust = invocation.keys.trust()?;
    let images = Images {
        store: &store,
        trust: trust.as_ref(),
        allow: Allow {
            revoked: false,
            untested: args.targets.allow_untested,
        },
    };
    let tool = invocation.tool();
    let options = Options {
        to: image_refs(&args.targets.to)?,
        unseal_shares: read_shares(args.unseal_keys.as_ref())?,
        all_nodes: args.targets.all_nodes,
        max_surge: args.targets.max_surge,
        soak_s: args.targets.soak,
        stop_before_hand_over: false,
        require_no_failure: false,
        allow_version_jump: jump_reason(&args.targets)?,
        allow_unpromoted: args.targets.allow_unpromoted,
        take_over: false,
        tool: &tool,
    };
    let prepared = plan(&opened.cluster(), &images, &options, &context(invocation)).await?;
    let is_refused = !prepared.refusals.is_empty();
    if invocation.json {
        let refusals: Vec<_> = prepared
            .refusals
            .iter()
            .map(|one| serde_json::json!({"why": one.why, "hint": one.hint}))
            .collect();
        print_json(&serde_json::json!({
            "digest": prepared.plan.digest(), "plan": prepared.plan, "refusals": refusals,
        }));
    } else {
        print_plan(&prepared);
    }
    Ok(if is_refused {
        Exit::Conflict
    } else {
        Exit::Done
    })
}

fn print_plan(prepared: &Prepared) {
    let plan = &prepared.plan;
    if plan.steps.is_empty() {
        print_line(&nothing_to_do(&plan.name));
    } else {
        let steps = counted(plan.steps.len(), "step");
        print_line(&format!("cluster {}: {steps}", plan.name));
        for (tier, target) in &plan.targets {
            let new = plan.names(*tier, true).len();
            if new > 0 {
                print_line(&format!(
                    "  {tier}: {} from {}@{}",
                    counted(new, "new node"),
                    target.image,
                    target.version
                ));
            }
        }
        print_line("");
        for (index, step) in plan.steps.iter().enumerate() {
            print_line(&format!("{:>3}  {}", index + 1, step.action));
        }
        debug_assert_eq!(plan.purpose, Purpose::Replace);
    }
    for refusal in &prepared.refusals {
        print_warning(&format!("refused: {}. {}", refusal.why, refusal.hint));
    }
}
