//! `trust`: shows or changes which keys may sign records.

use vault_bake::sign::Trust;
use vault_bake::store::event::Body;

use crate::args::maintain::{self, SetTrust, TrustVerb};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id};
use crate::keys::read_trust;

pub async fn run(invocation: &Invocation, args: &maintain::Trust) -> Result<Exit, Failure> {
    match &args.verb {
        TrustVerb::Show => {
            let history = invocation.open_store().await?.history().await?;
            print_policy(invocation, history.trust());
            Ok(Exit::Done)
        }
        TrustVerb::Set(args) => set(invocation, args).await,
        TrustVerb::Key => print_key(invocation),
    }
}

fn print_key(invocation: &Invocation) -> Result<Exit, Failure> {
    let signer = invocation.keys.signer(&invocation.events)?;
    let key = signer.public();
    let (id, algorithm, pem) = (key.id(), key.algorithm(), key.to_pem());
    if invocation.json {
        print_json(&serde_json::json!({
            "id": id, "algorithm": algorithm, "public": key, "pem": pem,
        }));
    } else {
        print_line(&format!("{algorithm} {id}\n{pem}"));
    }
    Ok(Exit::Done)
}

async fn set(invocation: &Invocation, args: &SetTrust) -> Result<Exit, Failure> {
    let trust = read_trust(&args.file)?;
    let store = invocation.open_signing_store().await?;
    let body = Body::TrustUpdate {
        trust: trust.clone(),
    };
    if args.dry_run {
        store.check(&body, clock()).await?;
    } else {
        store.append(new_id(), clock(), body).await?;
    }
    let (version, digest) = (trust.version(), trust.digest());
    if invocation.json {
        print_json(
            &serde_json::json!({ "set": !args.dry_run, "version": version, "digest": digest }),
        );
    } else {
        let verb = if args.dry_run { "would be" } else { "is" };
        print_line(&format!(
            "policy version {version} {verb} in force ({digest})"
        ));
    }
    Ok(Exit::Done)
}

/// Prints a policy that --trust accepts: on one line for programs, indented for people.
fn print_policy(invocation: &Invocation, trust: &Trust) {
    if invocation.json {
        print_line(&String::from_utf8_lossy(&trust.to_bytes()));
        return;
    }
    let value: serde_json::Value = serde_json::from_slice(&trust.to_bytes()).unwrap_or_default();
    print_line(&serde_json::to_string_pretty(&value).unwrap_or_default());
}
