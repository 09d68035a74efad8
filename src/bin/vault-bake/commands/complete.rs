//! `complete`: records a proposal that enough keys have signed.

use vault_bake::store::StoreError;
use vault_bake::store::event::SignedProposal;
use vault_bake::store::history::History;
use vault_bake::store::{AnyBackend, Store};

use crate::args::proposals::Complete;
use crate::commands::proposals::{State, file_of, lacking, print, read_file, warn};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Complete) -> Result<Exit, Failure> {
    let store = invocation.open_store_unless(args.dry_run).await?;
    let history = store.history().await?;
    let signed = find(&store, &history, &args.proposal).await?;
    if args.dry_run {
        let state = State::of(&store, &history, &signed).await?;
        print(invocation, Some(&history), &signed, &state);
        return Ok(match state {
            State::Ready | State::Completed => Exit::Done,
            State::Open(_) | State::Outdated(_) => Exit::Conflict,
        });
    }
    let completing = store.complete(signed.clone(), clock()).await;
    completing.map_err(|error| lacking(error, signed.proposal()))?;
    print(invocation, Some(&history), &signed, &State::Completed);
    Ok(Exit::Done)
}

/// Returns the proposal of the store or of a file, with the signatures of both.
async fn find(
    store: &Store<AnyBackend>,
    history: &History,
    reference: &str,
) -> Result<SignedProposal, Failure> {
    let Some(file) = file_of(reference) else {
        let found = store.find_proposal(history, reference).await?;
        warn(&found.ignored);
        return Ok(found.signed);
    };
    let mut signed = read_file(file)?;
    signed.signers(history.trust())?;
    let digest = signed.proposal().digest().to_string();
    match store.find_proposal(history, &digest).await {
        Ok(stored) => {
            let more = stored.signed.signatures().iter();
            more.for_each(|signature| signed.add(signature.clone()));
        }
        Err(StoreError::NoProposal(_) | StoreError::Integrity { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(signed)
}
