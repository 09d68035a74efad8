//! `cluster renew`: gives the running nodes new certificates.

use vault_bake::cluster::{Images, renew};
use vault_bake::terminal::counted;

use super::{context, open};
use crate::args::cluster::Renew;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Renew) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    let store = invocation.existing_store().await?;
    let trust = invocation.keys.trust()?;
    let images = store
        .as_ref()
        .map(|store| Images::new(store, trust.as_ref()));
    let renewed = renew(&opened.cluster(), images.as_ref(), &context(invocation)).await?;
    if invocation.json {
        print_json(&serde_json::json!({"cluster": opened.file.name, "renewed": renewed}));
    } else {
        let have = if renewed.len() == 1 { "has" } else { "have" };
        let nodes = counted(renewed.len(), "node");
        print_line(&format!("{nodes} {have} new certificates"));
    }
    Ok(Exit::Done)
}
