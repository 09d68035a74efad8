//! `revoke`: revokes images by rule, or lists revocations.

use std::collections::BTreeSet;

use jiff::Timestamp;
use vault_bake::digest::{Digest, InvalidDigest};
use vault_bake::manifest::ImageVersion;
use vault_bake::store::event::{Body, Revoke};
use vault_bake::store::history::History;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Allow, AnyBackend, Store};

use crate::args::release;
use crate::commands::{print_json, print_line, proposals};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id, resolve};

pub async fn run(invocation: &Invocation, args: &release::Revoke) -> Result<Exit, Failure> {
    if args.list {
        return list(invocation).await;
    }
    check_options(args)?;
    let store = invocation.open_store_unless(args.dry_run).await?;
    let rule = rule(&store, args).await?;
    rule.check().map_err(Failure::usage)?;
    let replacement = match &args.replacement {
        Some(reference) => Some(resolve(&store, reference).await?),
        None => None,
    };
    let at = match &args.at {
        None => clock(),
        Some(text) => text.parse::<Timestamp>().map_err(|error| {
            Failure::usage(format!("--at {text}: {error}"))
                .hint("Write for example --at 2026-12-01T00:00:00Z.")
        })?,
    };
    let revoke = Revoke {
        rule,
        why: args.reason.clone().unwrap_or_default(),
        effective_at: at.into(),
        replacement,
    };
    let history = store.history().await?;
    let affected = affected_images(&store, &history, &revoke.rule).await?;
    if let Some(digest) = &revoke.replacement {
        check_replacement(invocation, &store, &history, digest, &affected).await?;
    }
    if affected.is_empty()
        && let Some(warning) = store.explain_no_match(&history, &revoke.rule).await?
    {
        invocation.events.note(format!("warning: {warning}"));
    }
    if !args.dry_run {
        let body = Body::Revoke(revoke.clone());
        if args.propose.propose {
            print_report(invocation, true, &revoke, &affected);
            return proposals::propose(invocation, &store, body).await;
        }
        store.append(new_id(), clock(), body).await?;
    }
    print_report(invocation, args.dry_run, &revoke, &affected);
    Ok(Exit::Done)
}

/// Fails if an option belongs to another rule: without it, the rule would match more images.
fn check_options(args: &release::Revoke) -> Result<(), Failure> {
    let belongs = |option: &str, to: &str| {
        let message = format!("{option} belongs to {to}, which is not given");
        Failure::usage(message).hint(format!("Leave out {option}, or revoke with {to}."))
    };
    for (option, value) in [("--from", &args.from), ("--to", &args.to)] {
        if value.is_some() && args.versions_of.is_none() {
            return Err(belongs(option, "--versions-of"));
        }
    }
    if args.below.is_some() && args.release.is_none() && args.package.is_none() {
        return Err(belongs("--below", "--release or --package"));
    }
    if args.reason.as_deref().unwrap_or_default().trim().is_empty() {
        return Err(Failure::usage("--reason is empty")
            .hint("Write why the images are revoked: it is shown wherever one is refused."));
    }
    Ok(())
}

/// Fails if the rule revokes the replacement too. Warns if the replacement is not deployable.
async fn check_replacement(
    invocation: &Invocation,
    store: &Store<AnyBackend>,
    history: &History,
    digest: &Digest,
    affected: &[AffectedImage],
) -> Result<(), Failure> {
    if let Some(image) = affected.iter().find(|image| image.manifest == *digest) {
        let message = format!(
            "cannot use {} instead: the same rule revokes it",
            image.name
        );
        return Err(Failure::usage(message)
            .hint("Name an image with --use that the rule does not match, or leave it out."));
    }
    let status = store.evaluate(history, digest, clock()).await?;
    if let Some(obstacle) = status.refusal(Allow::default()) {
        let reason = &obstacle.why;
        invocation.events.note(format!(
            "warning: the image of --use is not deployable: {reason}"
        ));
    }
    Ok(())
}

/// An image that a rule matches, and its channels.
struct AffectedImage {
    name: String,
    manifest: Digest,
    channels: Vec<String>,
}

async fn affected_images(
    store: &Store<AnyBackend>,
    history: &History,
    rule: &Rule,
) -> Result<Vec<AffectedImage>, Failure> {
    let affected = store.affected(history, rule).await?;
    let images = affected.into_iter().map(|recorded| AffectedImage {
        name: recorded.put.name(),
        manifest: recorded.put.manifest,
        channels: history
            .holders(&recorded.put.manifest)
            .map(|(image, channel, generation)| {
                format!("{image}:{channel} (generation {generation})")
            })
            .collect(),
    });
    Ok(images.collect())
}

fn print_report(
    invocation: &Invocation,
    dry_run: bool,
    revoke: &Revoke,
    affected: &[AffectedImage],
) {
    if invocation.json {
        let json = |image: &AffectedImage| {
            let AffectedImage {
                name,
                manifest,
                channels,
            } = image;
            serde_json::json!({ "name": name, "manifest": manifest, "channels": channels })
        };
        let images: Vec<_> = affected.iter().map(json).collect();
        print_json(&serde_json::json!({ "revoked": !dry_run, "revoke": revoke, "images": images }));
        return;
    }
    let verb = if dry_run { "would revoke" } else { "revoked" };
    print_line(&format!(
        "{verb} {} from {} on: {}",
        revoke.rule, revoke.effective_at, revoke.why
    ));
    for image in affected {
        let channels = match image.channels.as_slice() {
            [] => "in no channel".to_owned(),
            channels => format!("IN CHANNEL {}", channels.join(", ")),
        };
        print_line(&format!(
            "  {:<32} {}  {channels}",
            image.name,
            image.manifest.short()
        ));
    }
    if affected.is_empty() {
        print_line("  no recorded image matches; the rule applies to images recorded later");
    }
}

/// Returns the rule of the command line.
async fn rule(store: &Store<AnyBackend>, args: &release::Revoke) -> Result<Rule, Failure> {
    let below = || args.below.clone().unwrap_or_default();
    if let Some(image) = &args.versions_of {
        return Ok(Rule::Versions {
            image: image.clone(),
            from: parse_version(args.from.as_deref())?,
            to: parse_version(args.to.as_deref())?,
        });
    }
    if let Some(product) = args.release.clone() {
        return Ok(Rule::Release {
            product,
            below: below(),
        });
    }
    if let Some(name) = args.package.clone() {
        return Ok(Rule::Package {
            name,
            below: below(),
        });
    }
    if let Some(input) = &args.input {
        let digest = input
            .parse()
            .map_err(|error: InvalidDigest| Failure::usage(error.to_string()))?;
        return Ok(Rule::Input { digest });
    }
    let mut manifests = BTreeSet::new();
    for reference in &args.references {
        manifests.insert(resolve(store, reference).await?);
    }
    Ok(Rule::Manifests { manifests })
}

fn parse_version(text: Option<&str>) -> Result<Option<ImageVersion>, Failure> {
    let version = text.map(str::parse::<ImageVersion>).transpose();
    version.map_err(|error| Failure::usage(error.to_string()))
}

async fn list(invocation: &Invocation) -> Result<Exit, Failure> {
    let history = invocation.open_store().await?.history().await?;
    for revocation in history.revocations() {
        if invocation.json {
            print_json(&serde_json::to_value(revocation).unwrap_or_default());
            continue;
        }
        let restored = revocation.restored.as_ref();
        let restored = restored.map_or(String::new(), |reason| format!("  TAKEN BACK: {reason}"));
        print_line(&format!(
            "entry {:<6} {}  {}: {}{restored}",
            revocation.seq,
            revocation.revoke.effective_at,
            revocation.revoke.rule,
            revocation.revoke.why
        ));
    }
    Ok(Exit::Done)
}
