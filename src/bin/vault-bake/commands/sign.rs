//! `sign`: adds a signature to a proposal, in the store or in a file.

use std::path::Path;

use vault_bake::sign::Trust;
use vault_bake::store::event::SignedProposal;

use crate::args::proposals::Sign;
use crate::commands::print_line;
use crate::commands::proposals::{
    State, file_of, lacking, print, print_event, read_file, replace_file, warn,
};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Sign) -> Result<Exit, Failure> {
    match file_of(&args.proposal) {
        Some(file) => sign_file(invocation, file, args.dry_run).await,
        None => sign_stored(invocation, args).await,
    }
}

async fn sign_stored(invocation: &Invocation, args: &Sign) -> Result<Exit, Failure> {
    let store = invocation.open_store_unless(args.dry_run).await?;
    let history = store.history().await?;
    let found = store.find_proposal(&history, &args.proposal).await?;
    warn(&found.ignored);
    let signed = found.signed;
    if history.is_completed(signed.proposal().id) {
        print(invocation, Some(&history), &signed, &State::Completed);
        return Ok(Exit::Done);
    }
    store.check_proposal(&history, &signed, clock()).await?;
    if args.dry_run {
        let state = State::under(history.trust(), &signed);
        print(invocation, Some(&history), &signed, &state);
        return Ok(Exit::Done);
    }
    if !invocation.json {
        print_event(Some(&history), signed.proposal());
    }
    let signed = store.sign_proposal(signed, clock()).await?;
    let mut state = State::under(history.trust(), &signed);
    if matches!(state, State::Ready) {
        let completing = store.complete(signed.clone(), clock()).await;
        completing.map_err(|error| lacking(error, signed.proposal()))?;
        state = State::Completed;
    }
    print_result(invocation, &signed, &state);
    Ok(Exit::Done)
}

/// Signs a proposal in a file, under the user's copy of the policy or that of the store.
async fn sign_file(invocation: &Invocation, file: &Path, dry_run: bool) -> Result<Exit, Failure> {
    let signed = read_file(file)?;
    let (trust, history) = match invocation.keys.trust()? {
        Some(trust) => {
            check_policy(&trust, &signed)?;
            (trust, None)
        }
        None => {
            let store = invocation.existing_store().await?;
            let store = store.ok_or_else(|| no_policy(file))?;
            let history = store.history().await?;
            store.check_proposal(&history, &signed, clock()).await?;
            (history.trust().clone(), Some(history))
        }
    };
    signed.signers(&trust)?;
    let history = history.as_ref();
    if dry_run {
        let state = State::under(&trust, &signed);
        print(invocation, history, &signed, &state);
        return Ok(Exit::Done);
    }
    if !invocation.json {
        print_event(history, signed.proposal());
    }
    let signer = invocation.keys.signer(&invocation.events)?;
    let signed = signed
        .with_signatures(&[signer], &trust, &invocation.interrupt)
        .await?;
    replace_file(file, &signed)?;
    let state = State::under(&trust, &signed);
    print_result(invocation, &signed, &state);
    if !invocation.json && matches!(state, State::Ready) {
        let file = file.display();
        print_line(&format!(
            "  next, with the store: vault-bake complete {file}"
        ));
    }
    Ok(Exit::Done)
}

fn no_policy(file: &Path) -> Failure {
    let message = format!(
        "cannot sign {}: there is neither a store nor a copy of the trust policy",
        file.display()
    );
    Failure::usage(message)
        .hint("Pass your copy of the trust policy with --trust, or name the store with --store.")
}

/// Fails if a proposal was made under another policy than the user's copy.
fn check_policy(trust: &Trust, signed: &SignedProposal) -> Result<(), Failure> {
    let proposal = signed.proposal();
    if proposal.policy == trust.digest() {
        return Ok(());
    }
    let message = format!(
        "cannot sign {}: it was made under the trust policy {}, and yours is version {}, {}",
        proposal.name(),
        proposal.policy,
        trust.version(),
        trust.digest()
    );
    Err(Failure::new(Exit::Conflict, message).hint(
        "Pass the policy in force with --trust. If the policy has changed, make the proposal again.",
    ))
}

/// Prints who signed, and what is missing.
fn print_result(invocation: &Invocation, signed: &SignedProposal, state: &State) {
    if invocation.json {
        print(invocation, None, signed, state);
        return;
    }
    for key in signed.signed_by() {
        print_line(&format!("  signed by {key}"));
    }
    match state {
        State::Open(missing) => {
            for requirement in missing {
                print_line(&format!("  has {requirement}"));
            }
        }
        State::Completed => print_line("completed: the event log has the event"),
        State::Ready | State::Outdated(_) => {}
    }
}
