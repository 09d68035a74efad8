//! `pin`: which image a deployment uses, in a file of its own repository.

use std::path::Path;

use vault_bake::manifest::diff::{Difference, diff};
use vault_bake::pin::{Move, Pin, PinFile, replace};
use vault_bake::store::backend::Backend;
use vault_bake::store::history::History;
use vault_bake::store::{Allow, Store};

use crate::args::pins;
use crate::commands::rollback::split;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, wish: &pins::Pin) -> Result<Exit, Failure> {
    let there = wish.file.exists();
    if wish.update && !there {
        let hint = "`vault-bake pin IMAGE:CHANNEL` makes one";
        let missing = format!("{}: no such file", wish.file.display());
        return Err(Failure::usage(missing).hint(hint));
    }
    let store = session.open_store().await?;
    let history = store.history().await?;
    let mut file = if there {
        let file = read(session, &wish.file)?;
        file.check_store_lineage(&store, &history).await?;
        file
    } else {
        let name = wish.file.display().to_string();
        PinFile::begin(&name, &store, &history).await?
    };
    if wish.update {
        let moves = file.update(&wish.names, &store, &history, clock()).await?;
        if !moves.is_empty() {
            write(wish, &file)?;
        }
        print_moves(session, wish, &store, &moves).await?;
        return print_others(session, wish, &file, (&store, &history), &moves).await;
    }
    if wish.names.len() > 1 && wish.name.is_some() {
        return Err(Failure::usage(
            "--as names one pin, and several were asked for",
        ));
    }
    let mut added = Vec::new();
    for channel in &wish.names {
        let of = split(channel)?;
        let name = wish.name.as_deref();
        added.push(file.add(name, of, &store, &history, clock()).await?);
    }
    write(wish, &file)?;
    for name in &added {
        print_new(session, wish, name, file.pin(name)?);
    }
    Ok(Exit::Done)
}

/// Reads a pin file and believes nothing in it that it does not prove.
pub fn read(session: &Invocation, path: &Path) -> Result<PinFile, Failure> {
    let file = parse(path)?;
    file.verify(session.keys.trust()?.as_ref())?;
    Ok(file)
}

/// Reads a pin file, to be verified by whoever asks it.
pub fn parse(path: &Path) -> Result<PinFile, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(PinFile::parse(&name, &bytes)?)
}

fn write(wish: &pins::Pin, file: &PinFile) -> Result<(), Failure> {
    if !wish.dry_run {
        replace(&wish.file, &file.to_text())?;
    }
    Ok(())
}

fn print_new(session: &Invocation, wish: &pins::Pin, name: &str, pin: &Pin) {
    if session.json {
        print_json(&serde_json::json!({ "pinned": !wish.dry_run, "pin": name, "to": short(pin) }));
        return;
    }
    let verb = if wish.dry_run { "would pin" } else { "pinned" };
    print_line(&format!("{verb} {}", line(name, pin)));
}

async fn print_moves<B: Backend>(
    session: &Invocation,
    wish: &pins::Pin,
    store: &Store<B>,
    moves: &[Move],
) -> Result<(), Failure> {
    for one in moves {
        let difference = difference(store, one).await?;
        if session.json {
            print_json(&serde_json::json!({
                "moved": !wish.dry_run, "pin": one.name, "from": short(&one.from), "to": short(&one.to),
                "difference": difference,
            }));
            continue;
        }
        let verb = if wish.dry_run { "would move" } else { "moved" };
        print_line(&format!(
            "{verb} {} from {} (generation {})",
            line(&one.name, &one.to),
            one.from.label(),
            one.from.generation
        ));
        print_line(&difference.to_string());
    }
    Ok(())
}

/// The pins that stay where they are. Those that must not be deployed any more end the call with an error.
async fn print_others<B: Backend>(
    session: &Invocation,
    wish: &pins::Pin,
    file: &PinFile,
    (store, history): (&Store<B>, &History),
    moves: &[Move],
) -> Result<Exit, Failure> {
    let statuses = file.evaluate(store, history, clock()).await?;
    let stays = |name: &&String| {
        let wanted = wish.names.is_empty() || wish.names.contains(*name);
        wanted && !moves.iter().any(|one| one.name == **name)
    };
    let mut refused = Vec::new();
    for name in file.pins().keys().filter(stays) {
        let (pin, status) = (file.pin(name)?, &statuses[name]);
        let obstacle = status.refusal(Allow::default());
        if session.json {
            print_json(&serde_json::json!({
                "moved": false, "pin": name, "to": short(pin), "standing": status.state(), "why": status.remark(),
            }));
        } else {
            let verb = if obstacle.is_some() {
                "REFUSED"
            } else {
                "up to date"
            };
            let remark = status
                .remark()
                .map_or(String::new(), |why| format!(": {why}"));
            print_line(&format!("{verb} {}{remark}", line(name, pin)));
        }
        if obstacle.is_some() {
            refused.push(format!("{}:{}", pin.image, pin.channel));
        }
    }
    let Some(channel) = refused.first() else {
        return Ok(Exit::Done);
    };
    let why = format!(
        "cannot update all pins: {} must not be deployed any more, and the channel holds no other image",
        match refused.len() {
            1 => "the image of 1 pin".to_owned(),
            several => format!("the images of {several} pins"),
        }
    );
    Err(Failure::new(Exit::Conflict, why).hint(format!(
        "Move the channel with `vault-bake promote IMAGE {channel}` or `vault-bake rollback {channel} --reason \"…\"`, then repeat."
    )))
}

async fn difference<B: Backend>(store: &Store<B>, one: &Move) -> Result<Difference, Failure> {
    let older = store.manifest(&one.from.manifest).await?;
    let newer = store.manifest(&one.to.manifest).await?;
    let packages = (store.packages(&older).await?, store.packages(&newer).await?);
    Ok(diff(&older, &newer, Some((&packages.0, &packages.1))))
}

fn line(name: &str, pin: &Pin) -> String {
    format!(
        "{name}: {} (generation {}) {}",
        pin.label(),
        pin.generation,
        pin.manifest.short()
    )
}

fn short(pin: &Pin) -> serde_json::Value {
    serde_json::json!({
        "image": pin.image, "channel": pin.channel, "generation": pin.generation, "version": pin.version,
        "manifest": pin.manifest,
    })
}
