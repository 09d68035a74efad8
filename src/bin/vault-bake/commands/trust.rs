//! `trust`: whose signatures count.

use std::path::Path;

use vault_bake::sign::Trust;
use vault_bake::store::event::Body;

use crate::args::TrustVerb;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id};
use crate::keys::read_trust;

pub async fn run(session: &Invocation, verb: &TrustVerb) -> Result<Exit, Failure> {
    match verb {
        TrustVerb::Show => {
            let history = session.open_store().await?.history().await?;
            print(session, history.trust());
            Ok(Exit::Done)
        }
        TrustVerb::Set { file, dry_run } => set(session, file, *dry_run).await,
        TrustVerb::Key => {
            let signer = session.keys.signer(&session.events)?;
            let public = signer.public();
            if session.json {
                print_json(&serde_json::json!({
                    "id": public.id(), "algorithm": public.algorithm(), "public": public, "pem": public.to_pem(),
                }));
            } else {
                print_line(&format!(
                    "{} {}\n{}",
                    public.algorithm(),
                    public.id(),
                    public.to_pem()
                ));
            }
            Ok(Exit::Done)
        }
    }
}

async fn set(session: &Invocation, file: &Path, dry_run: bool) -> Result<Exit, Failure> {
    let trust = read_trust(file)?;
    let store = session.open_signing_store().await?;
    let body = Body::TrustUpdate {
        trust: trust.clone(),
    };
    if dry_run {
        store.check(&body, clock()).await?;
    } else {
        store.append(new_id(), clock(), body).await?;
    }
    let verb = if dry_run { "would be" } else { "is" };
    if session.json {
        print_json(
            &serde_json::json!({ "set": !dry_run, "version": trust.version(), "digest": trust.digest() }),
        );
    } else {
        print_line(&format!(
            "policy version {} {verb} in force ({})",
            trust.version(),
            trust.digest()
        ));
    }
    Ok(Exit::Done)
}

fn print(session: &Invocation, trust: &Trust) {
    // A file for --trust either way; people get it with line breaks.
    if session.json {
        print_line(&String::from_utf8_lossy(&trust.to_bytes()));
        return;
    }
    let value: serde_json::Value = serde_json::from_slice(&trust.to_bytes()).unwrap_or_default();
    print_line(&serde_json::to_string_pretty(&value).unwrap_or_default());
}
