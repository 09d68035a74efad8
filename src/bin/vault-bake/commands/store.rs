//! `store`: creates a store with its trust policy.

use std::fs;

use vault_bake::sign::Trust;

use crate::args::maintain::{self, InitStore, StoreVerb};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::keys::{read_public_key, read_trust};

pub async fn run(invocation: &Invocation, args: &maintain::Store) -> Result<Exit, Failure> {
    match &args.verb {
        StoreVerb::Init(args) => init(invocation, args).await,
    }
}

async fn init(invocation: &Invocation, args: &InitStore) -> Result<Exit, Failure> {
    let trust = policy(invocation, args)?;
    trust.check_thresholds()?;
    if invocation.existing_store().await?.is_some() {
        return Err(exists());
    }
    let store = invocation.open_or_create_with(&trust).await?;
    let identity = store.identity().await?;
    // Another process may have been faster.
    if *identity.trust() != trust {
        return Err(exists());
    }
    if let Some(warning) = trust.root_warning() {
        invocation.events.note(format!("warning: {warning}"));
    }
    let (version, digest, origin) = (trust.version(), trust.digest(), store.origin());
    if invocation.json {
        print_json(&serde_json::json!({
            "created": true, "store": origin, "version": version, "digest": digest,
        }));
        return Ok(Exit::Done);
    }
    print_line(&format!("created the store {origin}"));
    for grant in trust.grants() {
        print_line(&format!("  {grant}"));
    }
    print_line("next: vault-bake trust show >trust.json, and keep this copy");
    Ok(Exit::Done)
}

fn policy(invocation: &Invocation, args: &InitStore) -> Result<Trust, Failure> {
    if let Some(file) = &args.policy {
        return read_trust(file);
    }
    if args.keys.is_empty() {
        let signer = invocation.keys.signer(&invocation.events)?;
        return Ok(Trust::single_key(signer.public()));
    }
    let mut keys = Vec::new();
    for file in &args.keys {
        let text = file.display();
        let bytes = fs::read(file)
            .map_err(|error| Failure::usage(format!("cannot read {text}: {error}")))?;
        keys.push(read_public_key(&text.to_string(), &bytes)?);
    }
    Ok(Trust::team(&keys, args.threshold)?)
}

fn exists() -> Failure {
    Failure::new(Exit::Conflict, "cannot create the store: it exists")
        .hint("Change its policy with `vault-bake trust`, or name another place with --store.")
}
