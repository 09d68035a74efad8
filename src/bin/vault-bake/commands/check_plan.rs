//! `check-plan`: whether a Terraform plan may be applied, as far as images are concerned.

use vault_bake::store::Allow;
use vault_bake::terraform::{Catalogue, Mode, Plan, evaluate};

use crate::args::pins::CheckPlan;
use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, wish: &CheckPlan) -> Result<Exit, Failure> {
    let name = wish.plan.display().to_string();
    let bytes =
        std::fs::read(&wish.plan).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let plan = Plan::read(&name, &bytes)?;
    let pins = match &wish.pins {
        None => None,
        Some(path) => {
            let file = pin::parse(path)?;
            let catalogue = Catalogue::of_pins(&file, session.keys.trust()?.as_ref())?;
            Some((file, catalogue))
        }
    };
    let catalogue = match pins {
        Some((_, pins)) if !session.store_named() => pins,
        pins => {
            let store = session.open_store().await?;
            let recorded = Catalogue::of_store(&store, &plan, clock()).await?;
            match pins {
                None => recorded,
                Some((file, pins)) => {
                    let history = store.history().await?;
                    file.check_store_lineage(&store, &history).await?;
                    recorded.only(pins)
                }
            }
        }
    };
    let mode = Mode {
        lenient: wish.lenient,
        allow: Allow {
            revoked: wish.allow_revoked,
            untested: wish.allow_untested,
        },
    };
    let report = evaluate(&plan, &catalogue, mode);
    if session.json {
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
