//! `pin`: writes the images of channels, with their proofs, to a pin file.
//! Also reads pin files for the other verbs.

use std::path::Path;

use vault_bake::manifest::diff::{Difference, diff};
use vault_bake::pin::{Pin, PinFile, PinUpdate, replace};
use vault_bake::store::history::History;
use vault_bake::store::{Allow, AnyBackend, Store};

use crate::args::pins;
use crate::commands::channel::ChannelName;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &pins::Pin) -> Result<Exit, Failure> {
    let exists = args.file.exists();
    if args.update && !exists {
        let message = format!("{}: no such file", args.file.display());
        return Err(Failure::usage(message)
            .hint("Run `vault-bake pin IMAGE:CHANNEL` to create a pin file."));
    }
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    let file = if exists {
        let file = read(invocation, &args.file)?;
        file.check_store_lineage(&store, &history).await?;
        file
    } else {
        let name = args.file.display().to_string();
        PinFile::new(&name, &store, &history).await?
    };
    let pinning = Pinning {
        invocation,
        args,
        store: &store,
        history: &history,
    };
    if args.update {
        pinning.update(file).await
    } else {
        pinning.add(file).await
    }
}

/// Reads a pin file and verifies its proofs.
fn read(invocation: &Invocation, path: &Path) -> Result<PinFile, Failure> {
    let file = parse(path)?;
    file.verify(invocation.keys.trust()?.as_ref())?;
    Ok(file)
}

/// Reads a pin file without verifying its proofs, which is left to the caller.
pub fn parse(path: &Path) -> Result<PinFile, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    Ok(PinFile::parse(&name, &bytes)?)
}

/// A call of `pin` with its store.
struct Pinning<'a> {
    invocation: &'a Invocation,
    args: &'a pins::Pin,
    store: &'a Store<AnyBackend>,
    history: &'a History,
}

impl Pinning<'_> {
    /// Adds a pin for each channel of the command line.
    async fn add(&self, mut file: PinFile) -> Result<Exit, Failure> {
        if self.args.names.len() > 1 && self.args.name.is_some() {
            return Err(
                Failure::usage("--as names one pin, but several channels are given")
                    .hint("Pin each channel with a command of its own."),
            );
        }
        let mut added = Vec::new();
        for name in &self.args.names {
            let ChannelName { image, channel } = ChannelName::parse(name)?;
            let name = self.args.name.as_deref();
            let (store, history) = (self.store, self.history);
            let adding = file.add(name, (image, channel), store, history, clock());
            added.push(adding.await?);
        }
        self.write(&file)?;
        for name in &added {
            self.print_new(name, file.pin(name)?);
        }
        Ok(Exit::Done)
    }

    /// Moves pins to the current images of their channels.
    async fn update(&self, mut file: PinFile) -> Result<Exit, Failure> {
        let updating = file.update(&self.args.names, self.store, self.history, clock());
        let moves = updating.await?;
        if !moves.is_empty() {
            self.write(&file)?;
        }
        for moved in &moves {
            self.print_move(moved).await?;
        }
        self.print_unmoved(&file, &moves).await
    }

    fn write(&self, file: &PinFile) -> Result<(), Failure> {
        if !self.args.dry_run {
            replace(&self.args.file, &file.to_text())?;
        }
        Ok(())
    }

    fn print_new(&self, name: &str, pin: &Pin) {
        let dry_run = self.args.dry_run;
        if self.invocation.json {
            print_json(&serde_json::json!({ "pinned": !dry_run, "pin": name, "to": summary(pin) }));
            return;
        }
        let verb = if dry_run { "would pin" } else { "pinned" };
        print_line(&format!("{verb} {}", pin_line(name, pin)));
    }

    async fn print_move(&self, moved: &PinUpdate) -> Result<(), Failure> {
        let difference = self.difference(moved).await?;
        let dry_run = self.args.dry_run;
        if self.invocation.json {
            print_json(&serde_json::json!({
                "moved": !dry_run, "pin": moved.name, "from": summary(&moved.from),
                "to": summary(&moved.to), "difference": difference,
            }));
            return Ok(());
        }
        let verb = if dry_run { "would move" } else { "moved" };
        print_line(&format!(
            "{verb} {} from {} (generation {})",
            pin_line(&moved.name, &moved.to),
            moved.from.label(),
            moved.from.generation
        ));
        print_line(&difference.to_string());
        Ok(())
    }

    async fn difference(&self, moved: &PinUpdate) -> Result<Difference, Failure> {
        let older = self.store.manifest(&moved.from.manifest).await?;
        let newer = self.store.manifest(&moved.to.manifest).await?;
        let older_packages = self.store.packages(&older).await?;
        let newer_packages = self.store.packages(&newer).await?;
        Ok(diff(
            &older,
            &newer,
            Some((&older_packages, &newer_packages)),
        ))
    }

    /// Prints the requested pins that did not move. Fails if the image of one is not deployable.
    async fn print_unmoved(&self, file: &PinFile, moves: &[PinUpdate]) -> Result<Exit, Failure> {
        let names = &self.args.names;
        let statuses = file.evaluate(self.store, self.history, clock()).await?;
        let is_unmoved = |name: &&String| {
            let is_requested = names.is_empty() || names.contains(*name);
            is_requested && !moves.iter().any(|moved| moved.name == **name)
        };
        let mut refused = Vec::new();
        for name in file.pins().keys().filter(is_unmoved) {
            let (pin, status) = (file.pin(name)?, &statuses[name]);
            let is_refused = status.refusal(Allow::default()).is_some();
            if self.invocation.json {
                print_json(&serde_json::json!({
                    "moved": false, "pin": name, "to": summary(pin), "status": status.state(),
                    "why": status.first_remark(),
                }));
            } else {
                let verb = if is_refused { "REFUSED" } else { "up to date" };
                let remark = status.first_remark();
                let remark = remark.map_or(String::new(), |reason| format!(": {reason}"));
                print_line(&format!("{verb} {}{remark}", pin_line(name, pin)));
            }
            if is_refused {
                refused.push(format!("{}:{}", pin.image, pin.channel));
            }
        }
        match refused.first() {
            None => Ok(Exit::Done),
            Some(channel) => Err(refusal(channel, refused.len())),
        }
    }
}

/// Returns the failure for `count` pins whose channels have no deployable image.
fn refusal(channel: &str, count: usize) -> Failure {
    let images = match count {
        1 => "the image of 1 pin is".to_owned(),
        several => format!("the images of {several} pins are"),
    };
    let message =
        format!("cannot update all pins: {images} not deployable, and the channel has no other");
    Failure::new(Exit::Conflict, message).hint(format!(
        "Move the channel with `vault-bake promote IMAGE {channel}` or `vault-bake rollback {channel} --reason \"…\"`, then repeat."
    ))
}

fn pin_line(name: &str, pin: &Pin) -> String {
    format!(
        "{name}: {} (generation {}) {}",
        pin.label(),
        pin.generation,
        pin.manifest.short()
    )
}

fn summary(pin: &Pin) -> serde_json::Value {
    serde_json::json!({
        "image": pin.image, "channel": pin.channel, "generation": pin.generation,
        "version": pin.version, "manifest": pin.manifest,
    })
}
