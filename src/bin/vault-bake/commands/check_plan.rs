//! `check-plan`: checks that a Terraform plan deploys only allowed images.

use vault_bake::store::Allow;
use vault_bake::terraform::{Catalog, CheckMode, Plan, evaluate};

use crate::args::pins::CheckPlan;
use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &CheckPlan) -> Result<Exit, Failure> {
    let name = args.plan.display().to_string();
    let bytes = std::fs::read(&args.plan)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let plan = Plan::read(&name, &bytes)?;
    let catalogue = catalogue(invocation, args, &plan).await?;
    let mode = CheckMode {
        lenient: args.lenient,
        allow: Allow {
            revoked: args.allow_revoked,
            untested: args.allow_untested,
        },
    };
    let report = evaluate(&plan, &catalogue, mode);
    if invocation.json {
        print_json(&serde_json::json!(report));
    } else {
        print_line(&report.to_string());
    }
    Ok(if report.refused {
        Exit::Conflict
    } else {
        Exit::Done
    })
}

/// Returns the known images: those of the store, of the pin file, or of both.
async fn catalogue(
    invocation: &Invocation,
    args: &CheckPlan,
    plan: &Plan,
) -> Result<Catalog, Failure> {
    let Some(path) = &args.pins else {
        let store = invocation.open_store().await?;
        return Ok(Catalog::from_store(&store, plan, clock()).await?);
    };
    let file = pin::parse(path)?;
    let pinned = Catalog::from_pins(&file, invocation.keys.trust()?.as_ref())?;
    if !invocation.is_store_named() {
        return Ok(pinned);
    }
    let store = invocation.open_store().await?;
    let recorded = Catalog::from_store(&store, plan, clock()).await?;
    let history = store.history().await?;
    file.check_store_lineage(&store, &history).await?;
    Ok(recorded.restricted_to(pinned))
}
