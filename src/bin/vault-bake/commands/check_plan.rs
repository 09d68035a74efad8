//! `check-plan`: whether a Terraform plan may be applied, as far as images are concerned.

use vault_bake::deployment::{Catalogue, judge, uses};

use crate::args::pins::CheckPlan;
use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::{Session, clock};

pub async fn run(session: &Session, wish: &CheckPlan) -> Result<Exit, Failure> {
    let name = wish.plan.display().to_string();
    let bytes =
        std::fs::read(&wish.plan).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let uses = uses(&name, &bytes)?;
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
            let recorded = Catalogue::of_store(&store, &uses, clock()).await?;
            match pins {
                None => recorded,
                Some((file, pins)) => {
                    let history = store.history().await?;
                    file.check_continued(&store, &history).await?;
                    recorded.only(pins)
                }
            }
        }
    };
    let report = judge(&uses, &catalogue, wish.strict);
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
