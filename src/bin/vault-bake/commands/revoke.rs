//! `revoke`: images that must not be deployed any more.

use std::collections::BTreeSet;

use jiff::Timestamp;
use vault_bake::digest::Digest;
use vault_bake::manifest::ImageVersion;
use vault_bake::store::event::{Body, Revoke};
use vault_bake::store::history::History;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Allow, AnyBackend, Store};

use crate::args;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id, resolve};

pub async fn run(session: &Invocation, wish: &args::Revoke) -> Result<Exit, Failure> {
    if wish.list {
        return list(session).await;
    }
    let store = match wish.dry_run {
        true => session.open_store().await?,
        false => session.open_signing_store().await?,
    };
    let rule = rule(&store, wish).await?;
    rule.check().map_err(Failure::usage)?;
    let replacement = match &wish.replacement {
        Some(reference) => Some(resolve(&store, reference).await?),
        None => None,
    };
    let at = match &wish.at {
        None => clock(),
        Some(text) => text.parse::<Timestamp>().map_err(|error| {
            Failure::usage(format!("--at {text}: {error}")).hint("as in 2026-12-01T00:00:00Z")
        })?,
    };
    let revoke = Revoke {
        rule,
        why: wish.reason.clone().unwrap_or_default(),
        effective_at: at.into(),
        replacement,
    };
    let history = store.history().await?;
    let affected_images = concerned(&store, &history, &revoke.rule).await?;
    if let Some(digest) = &revoke.replacement {
        check_replacement(session, &store, &history, digest, &affected_images).await?;
    }
    if affected_images.is_empty()
        && let Some(warning) = store.unknown_to(&history, &revoke.rule).await?
    {
        session.events.note(format!("warning: {warning}"));
    }
    if !wish.dry_run {
        let body = Body::Revoke(revoke.clone());
        store.append(new_id(), clock(), body).await?;
    }
    print_report(session, wish.dry_run, &revoke, &affected_images);
    Ok(Exit::Done)
}

/// What is revoked by the same rule is no way out.
async fn check_replacement(
    session: &Invocation,
    store: &Store<AnyBackend>,
    history: &History,
    digest: &Digest,
    concerned: &[AffectedImages],
) -> Result<(), Failure> {
    if let Some(one) = concerned.iter().find(|one| one.manifest == *digest) {
        let why = format!(
            "cannot use {} instead: this revocation is about it as well",
            one.name
        );
        return Err(Failure::usage(why)
            .hint("Name an image with --use that the rule is not about, or leave it out."));
    }
    let status = store.evaluate(history, digest, clock()).await?;
    if let Some(obstacle) = status.refusal(Allow::default()) {
        let why = &obstacle.why;
        session.events.note(format!(
            "warning: what to use instead must not be deployed itself: {why}"
        ));
    }
    Ok(())
}

/// An image that a rule is about, and the channels that hold it.
struct AffectedImages {
    name: String,
    manifest: Digest,
    channels: Vec<String>,
}

async fn concerned(
    store: &Store<AnyBackend>,
    history: &History,
    rule: &Rule,
) -> Result<Vec<AffectedImages>, Failure> {
    let affected = store.affected(history, rule).await?;
    let concerned = affected.into_iter().map(|recorded| AffectedImages {
        name: recorded.put.name(),
        manifest: recorded.put.manifest,
        channels: history
            .holders(&recorded.put.manifest)
            .map(|(image, channel, generation)| {
                format!("{image}:{channel} (generation {generation})")
            })
            .collect(),
    });
    Ok(concerned.collect())
}

fn print_report(
    session: &Invocation,
    dry_run: bool,
    revoke: &Revoke,
    concerned: &[AffectedImages],
) {
    if session.json {
        let images: Vec<_> = concerned
            .iter()
            .map(|one| serde_json::json!({ "name": one.name, "manifest": one.manifest, "channels": one.channels }))
            .collect();
        print_json(&serde_json::json!({ "revoked": !dry_run, "revoke": revoke, "images": images }));
        return;
    }
    let verb = if dry_run { "would revoke" } else { "revoked" };
    print_line(&format!(
        "{verb} {} from {} on: {}",
        revoke.rule, revoke.effective_at, revoke.why
    ));
    for one in concerned {
        let channels = match one.channels.as_slice() {
            [] => "in no channel".to_owned(),
            channels => format!("HELD BY {}", channels.join(", ")),
        };
        print_line(&format!(
            "  {:<32} {}  {channels}",
            one.name,
            one.manifest.short()
        ));
    }
    if concerned.is_empty() {
        print_line("  no recorded image is concerned; the rule holds for those to come");
    }
}

async fn rule(store: &Store<AnyBackend>, wish: &args::Revoke) -> Result<Rule, Failure> {
    let below = || wish.below.clone().unwrap_or_default();
    if let Some(image) = &wish.versions_of {
        return Ok(Rule::Versions {
            image: image.clone(),
            from: version(wish.from.as_deref())?,
            to: version(wish.to.as_deref())?,
        });
    }
    if let Some(product) = wish.release.clone() {
        return Ok(Rule::Release {
            product,
            below: below(),
        });
    }
    if let Some(name) = wish.package.clone() {
        return Ok(Rule::Package {
            name,
            below: below(),
        });
    }
    if let Some(input) = &wish.input {
        let digest = input.parse();
        let digest = digest.map_err(|error: vault_bake::digest::InvalidDigest| {
            Failure::usage(error.to_string())
        })?;
        return Ok(Rule::Input { digest });
    }
    let mut manifests = BTreeSet::new();
    for reference in &wish.references {
        manifests.insert(resolve(store, reference).await?);
    }
    Ok(Rule::Manifests { manifests })
}

fn version(text: Option<&str>) -> Result<Option<ImageVersion>, Failure> {
    let version = text.map(str::parse::<ImageVersion>).transpose();
    version.map_err(|error| Failure::usage(error.to_string()))
}

async fn list(session: &Invocation) -> Result<Exit, Failure> {
    let history = session.open_store().await?.history().await?;
    for revocation in history.revocations() {
        if session.json {
            print_json(&serde_json::to_value(revocation).unwrap_or_default());
            continue;
        }
        let restored = revocation.restored.as_ref();
        let restored = restored.map_or(String::new(), |why| format!("  TAKEN BACK: {why}"));
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
