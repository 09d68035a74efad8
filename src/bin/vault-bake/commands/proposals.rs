//! `proposals`: lists proposals. Also proposes events for other verbs, and prints proposals.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vault_bake::digest::Digest;
use vault_bake::sign::{SignError, Trust};
use vault_bake::store::event::{Body, ChannelSet, Proposal, Requirement, Revoke, SignedProposal};
use vault_bake::store::history::History;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{AnyBackend, Store, StoreError, StoredProposal};

use crate::args::proposals::Proposals;
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::new_files::{NewFile, write_all};

pub async fn run(invocation: &Invocation, args: &Proposals) -> Result<Exit, Failure> {
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    if let Some(reference) = &args.proposal {
        let found = store.find_proposal(&history, reference).await?;
        warn(&found.ignored);
        let state = State::of(&store, &history, &found.signed).await?;
        print(invocation, Some(&history), &found.signed, &state);
        if let Some(file) = &args.to {
            export(&found.signed, file)?;
        }
        return Ok(Exit::Done);
    }
    let (all, broken) = store.proposals(&history).await?;
    warn(&broken);
    let mut hidden = 0;
    for StoredProposal { signed, ignored } in &all {
        let state = State::of(&store, &history, signed).await?;
        if !args.all && !state.is_open() {
            hidden += 1;
            continue;
        }
        warn(ignored);
        print(invocation, Some(&history), signed, &state);
    }
    if !invocation.json && hidden > 0 {
        print_line(&format!(
            "not listed: {hidden} completed or outdated; --all lists them"
        ));
    } else if !invocation.json && all.is_empty() {
        print_line("no proposals");
    }
    Ok(Exit::Done)
}

/// Proposes an event for other keys to sign, and prints the proposal.
pub async fn propose(
    invocation: &Invocation,
    store: &Store<AnyBackend>,
    body: Body,
) -> Result<Exit, Failure> {
    let signed = store.propose(body, clock()).await?;
    let history = store.history().await?;
    let state = State::of(store, &history, &signed).await?;
    print(invocation, Some(&history), &signed, &state);
    Ok(Exit::Done)
}

/// Whether a proposal can be signed or completed.
pub enum State {
    /// Keys must still sign.
    Open(Vec<Requirement>),
    /// Enough keys signed.
    Ready,
    /// The log has the event.
    Completed,
    /// It can never be completed, with the reason.
    Outdated(String),
}

impl State {
    /// Returns the state of a proposal in a store.
    pub async fn of(
        store: &Store<AnyBackend>,
        history: &History,
        signed: &SignedProposal,
    ) -> Result<Self, Failure> {
        if history.is_completed(signed.proposal().id) {
            return Ok(Self::Completed);
        }
        match store.check_proposal(history, signed, clock()).await {
            Ok(()) => Ok(Self::under(history.trust(), signed)),
            Err(error @ StoreError::Backend(_)) => Err(error.into()),
            // One proposal that makes no sense must not hide the others.
            Err(error) => Ok(Self::Outdated(error.to_string())),
        }
    }

    /// Returns the state under the trust policy alone.
    pub fn under(trust: &Trust, signed: &SignedProposal) -> Self {
        let missing = signed.missing(trust);
        if missing.is_empty() {
            Self::Ready
        } else {
            Self::Open(missing)
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Ready)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Ready => "ready",
            Self::Completed => "completed",
            Self::Outdated(_) => "outdated",
        }
    }
}

/// Prints a proposal with its state. Without `history`, images have no names.
pub fn print(
    invocation: &Invocation,
    history: Option<&History>,
    signed: &SignedProposal,
    state: &State,
) {
    let proposal = signed.proposal();
    if invocation.json {
        print_json(&json(signed, state));
        return;
    }
    print_event(history, proposal);
    for key in signed.signed_by() {
        print_line(&format!("  signed by {key}"));
    }
    let short = proposal.digest().short();
    match state {
        State::Open(missing) => {
            for requirement in missing {
                print_line(&format!("  has {requirement}"));
            }
            print_line(&format!("  next: vault-bake sign {short}"));
        }
        State::Ready => print_line(&format!("  next: vault-bake complete {short}")),
        State::Completed => print_line("  completed"),
        State::Outdated(why) => print_line(&format!("  OUTDATED: {why}")),
    }
}

/// Prints what a proposal would do.
pub fn print_event(history: Option<&History>, proposal: &Proposal) {
    print_line(&format!("proposal {}", proposal.digest()));
    for line in describe(&proposal.body, history) {
        print_line(&format!("  {line}"));
    }
    print_line(&format!("  proposed at {}", proposal.at));
}

fn json(signed: &SignedProposal, state: &State) -> Value {
    let proposal = signed.proposal();
    let mut value = serde_json::json!(proposal.body);
    let missing = match state {
        State::Open(missing) => missing.as_slice(),
        _ => &[],
    };
    let missing = missing.iter().map(|one| {
        let Requirement {
            role,
            of,
            shortage,
            open,
        } = one;
        serde_json::json!({
            "role": role, "of": of, "threshold": shortage.threshold, "signed": shortage.count(),
            "open": open,
        })
    });
    value["proposal"] = serde_json::json!(proposal.digest());
    value["at"] = serde_json::json!(proposal.at);
    value["store"] = serde_json::json!(proposal.store);
    value["policy"] = serde_json::json!(proposal.policy);
    value["signed"] = serde_json::json!(signed.signed_by());
    value["state"] = state.name().into();
    value["missing"] = missing.collect();
    value["why"] = match state {
        State::Outdated(why) => why.as_str().into(),
        _ => Value::Null,
    };
    value
}

/// Returns what an event does, in words. The first line is a summary.
fn describe(body: &Body, history: Option<&History>) -> Vec<String> {
    let name = |digest: &Digest| {
        let recorded = history.and_then(|history| history.by_digest(digest));
        recorded.map_or_else(
            || digest.to_string(),
            |one| format!("{} ({digest})", one.put.name()),
        )
    };
    match body {
        Body::ChannelSet(ChannelSet {
            image,
            channel,
            generation,
            to,
            from,
            reason,
            note,
        }) => {
            let from = from.as_ref().map_or("nothing".to_owned(), &name);
            let mut lines = vec![
                format!("move {image}:{channel} (generation {generation}, {reason})"),
                format!("from {from}"),
                format!("to {}", name(to)),
            ];
            lines.extend(note.iter().map(|note| format!("note: {note}")));
            lines
        }
        Body::Revoke(Revoke {
            rule,
            why,
            effective_at,
            replacement,
        }) => {
            let what = match rule {
                Rule::Manifests { manifests } => {
                    let names: Vec<String> = manifests.iter().map(name).collect();
                    names.join(", ")
                }
                rule => rule.to_string(),
            };
            let mut lines = vec![format!("revoke {what} from {effective_at} on: {why}")];
            let instead = replacement.iter();
            lines.extend(instead.map(|digest| format!("use instead: {}", name(digest))));
            lines
        }
        Body::Restore { revocation, why } => {
            let mut lines = vec![format!(
                "take back the revocation of entry {revocation}: {why}"
            )];
            let all = history.map_or(&[][..], History::revocations).iter();
            let revoked = all.filter(|one| one.seq == *revocation);
            lines.extend(revoked.map(|one| format!("which revokes {}", one.revoke.rule)));
            lines
        }
        Body::TrustUpdate { trust } => {
            let first = format!(
                "set the trust policy to version {} ({})",
                trust.version(),
                trust.digest()
            );
            let mut lines = vec![first];
            match history {
                Some(history) => lines.extend(trust.changes(history.trust())),
                None => lines.extend(trust.grants().iter().map(ToString::to_string)),
            }
            lines
        }
        other => vec![serde_json::json!(other).to_string()],
    }
}

/// Prints why signatures do not count.
pub fn warn(ignored: &[(String, SignError)]) {
    for (name, error) in ignored {
        print_warning(&format!("{name} does not count: {error}"));
    }
}

/// Writes a proposal to a new file.
fn export(signed: &SignedProposal, file: &Path) -> Result<(), Failure> {
    if signed.signatures().is_empty() {
        let message = format!("cannot write {}: no key has signed", file.display());
        return Err(Failure::new(Exit::Conflict, message)
            .hint("Make the proposal again, with the same command."));
    }
    let name = file.to_string_lossy();
    let text = String::from_utf8_lossy(&signed.envelope().to_bytes()).into_owned();
    let folder = PathBuf::new();
    write_all(
        "write the proposal",
        &folder,
        &[NewFile::new(name.as_ref(), text)],
    )
}

/// Returns the file that a command line names instead of a digest.
pub fn file_of(reference: &str) -> Option<&Path> {
    let path = Path::new(reference);
    let is_digest = reference.bytes().all(|b| b.is_ascii_hexdigit());
    let is_digest = is_digest || reference.starts_with("sha256:");
    (!is_digest || path.is_file()).then_some(path)
}

/// Reads a proposal from a file.
pub fn read_file(path: &Path) -> Result<SignedProposal, Failure> {
    let text = path.display();
    let bytes =
        fs::read(path).map_err(|error| Failure::usage(format!("cannot read {text}: {error}")))?;
    SignedProposal::parse(&bytes).map_err(|error| Failure::usage(format!("{text}: {error}")))
}

/// Replaces a file with a proposal, whole or not at all.
pub fn replace_file(path: &Path, signed: &SignedProposal) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::Failed, message)
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions();
    file.write_all(&signed.envelope().to_bytes())
        .and_then(|()| file.as_file().set_permissions(mode))
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Returns the hint for a proposal that lacks signatures.
pub fn lacking(error: StoreError, proposal: &Proposal) -> Failure {
    let is_short =
        matches!(&error, StoreError::NotAllowed { shortage, .. } if shortage.count() > 0);
    let failure = Failure::from(error);
    if is_short {
        let short = proposal.digest().short();
        return failure.hint(format!(
            "Ask the holder of another of these keys to run `vault-bake sign {short}`."
        ));
    }
    failure
}
