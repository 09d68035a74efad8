//! `trust`: shows or changes which keys may sign records.

use vault_bake::sign::{GrantScope, PolicyChangeError, PublicKey, Role, Trust};
use vault_bake::store::event::Body;
use vault_bake::store::{AnyBackend, Store};

use crate::args::maintain::{
    self, ChangeTrust, GrantOptions, RoleName, SetThreshold, SetTrust, TrustVerb,
};
use crate::commands::{print_json, print_line, proposals};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id};
use crate::keys::{find_key, read_trust};

pub async fn run(invocation: &Invocation, args: &maintain::Trust) -> Result<Exit, Failure> {
    match &args.verb {
        TrustVerb::Show => {
            let history = invocation.open_store().await?.history().await?;
            print_policy(invocation, history.trust());
            Ok(Exit::Done)
        }
        TrustVerb::Set(args) => set(invocation, args).await,
        TrustVerb::Add(args) => change(invocation, args, Trust::with_key).await,
        TrustVerb::Remove(args) => {
            let remove = |trust: &Trust, key: &PublicKey, scopes: &[GrantScope]| {
                trust.without_key(&key.id(), scopes)
            };
            change(invocation, args, remove).await
        }
        TrustVerb::Threshold(args) => set_threshold(invocation, args).await,
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
    trust.check_thresholds()?;
    let propose = args.propose.propose;
    let store = invocation.open_planning_store(propose).await?;
    record(invocation, &store, trust, args.dry_run, propose).await
}

/// Gives a key roles, or takes them from it.
async fn change(
    invocation: &Invocation,
    args: &ChangeTrust,
    make: impl Fn(&Trust, &PublicKey, &[GrantScope]) -> Result<Trust, PolicyChangeError>,
) -> Result<Exit, Failure> {
    let propose = args.propose.propose;
    let store = invocation.open_planning_store(propose).await?;
    let history = store.history().await?;
    let key = find_key(&args.key, history.trust())?;
    let roles = args.roles.iter();
    let scopes: Vec<GrantScope> = roles.map(|role| scope(*role, &args.grant)).collect();
    let trust = make(history.trust(), &key, &scopes)?;
    record(invocation, &store, trust, args.dry_run, propose).await
}

async fn set_threshold(invocation: &Invocation, args: &SetThreshold) -> Result<Exit, Failure> {
    let propose = args.propose.propose;
    let store = invocation.open_planning_store(propose).await?;
    let history = store.history().await?;
    let scope = scope(args.role, &args.grant);
    let trust = history.trust().with_threshold(&scope, args.number)?;
    record(invocation, &store, trust, args.dry_run, propose).await
}

fn scope(role: RoleName, grant: &GrantOptions) -> GrantScope {
    GrantScope {
        role: match role {
            RoleName::Root => Role::Root,
            RoleName::Builder => Role::Builder,
            RoleName::Promoter => Role::Promoter,
            RoleName::Revoker => Role::Revoker,
            RoleName::Keeper => Role::Keeper,
            RoleName::Operator => Role::Operator,
        },
        images: grant.images.iter().cloned().collect(),
        channels: grant.channels.iter().cloned().collect(),
    }
}

/// Records or proposes a policy, and prints it.
async fn record(
    invocation: &Invocation,
    store: &Store<AnyBackend>,
    trust: Trust,
    dry_run: bool,
    propose: bool,
) -> Result<Exit, Failure> {
    let history = store.history().await?;
    let changes = trust.changes(history.trust());
    let (version, digest) = (trust.version(), trust.digest());
    if let Some(warning) = trust.root_warning() {
        invocation.events.note(format!("warning: {warning}"));
    }
    let body = Body::TrustUpdate { trust };
    match (dry_run, propose) {
        (true, _) => _ = store.check(&body, clock()).await?,
        (false, true) => return proposals::propose(invocation, store, body).await,
        (false, false) => store.append(new_id(), clock(), body).await?,
    }
    if invocation.json {
        print_json(&serde_json::json!({ "set": !dry_run, "version": version, "digest": digest }));
        return Ok(Exit::Done);
    }
    for line in changes {
        print_line(&line);
    }
    let verb = if dry_run { "would be" } else { "is" };
    print_line(&format!(
        "policy version {version} {verb} in force ({digest})"
    ));
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
