//! `channel`: prints channels, their images and their history.

use vault_bake::store::history::{Generation, History};
use vault_bake::store::{AnyBackend, DeployState, Store, StoreError};

use crate::args::release::{Channel, ChannelVerb};
use crate::commands::{print_header, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

/// A channel of an image, as in `web:prod`.
pub struct ChannelName<'a> {
    pub image: &'a str,
    pub channel: &'a str,
}

impl<'a> ChannelName<'a> {
    /// Splits `name:channel`.
    pub fn parse(text: &'a str) -> Result<Self, Failure> {
        let parts = text.split_once(':');
        let (image, channel) = parts.ok_or_else(|| {
            Failure::usage(format!("`{text}` is not a channel: expected name:channel"))
        })?;
        Ok(Self { image, channel })
    }
}

pub async fn run(invocation: &Invocation, args: &Channel) -> Result<Exit, Failure> {
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    let printer = Printer {
        invocation,
        store: &store,
        history: &history,
    };
    match &args.verb {
        None => printer.list(None).await?,
        Some(ChannelVerb::List { image }) => printer.list(image.as_deref()).await?,
        Some(ChannelVerb::Show { channel }) => {
            let (name, number) = match channel.split_once('@') {
                Some((name, number)) => (name, Some(parse_generation(number)?)),
                None => (channel.as_str(), None),
            };
            let generations = generations(&history, name)?;
            let generation = match number {
                None => generations.last(),
                Some(number) => generations.iter().find(|one| one.generation == number),
            };
            let missing = || StoreError::NoChannel(channel.clone());
            printer.print(name, generation.ok_or_else(missing)?).await?;
        }
        Some(ChannelVerb::Log { channel }) => {
            for generation in generations(&history, channel)?.iter().rev() {
                printer.print(channel, generation).await?;
            }
        }
    }
    Ok(Exit::Done)
}

fn parse_generation(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::usage(format!("`{text}` is not a generation: expected a number")))
}

fn generations<'a>(history: &'a History, name: &str) -> Result<&'a [Generation], Failure> {
    let ChannelName { image, channel } = ChannelName::parse(name)?;
    match history.channel(image, channel) {
        [] => Err(StoreError::NoChannel(name.to_owned()).into()),
        generations => Ok(generations),
    }
}

/// Prints generations with the present status of their images.
struct Printer<'a> {
    invocation: &'a Invocation,
    store: &'a Store<AnyBackend>,
    history: &'a History,
}

impl Printer<'_> {
    async fn list(&self, image: Option<&str>) -> Result<(), Failure> {
        if !self.invocation.json {
            print_header(&columns("CHANNEL", "GEN", "IMAGE", "SINCE", "REASON"));
        }
        for (name, channel, generations) in self.history.channels() {
            let is_requested = image.is_none_or(|image| image == name);
            if let Some(last) = generations.last().filter(|_| is_requested) {
                self.print(&format!("{name}:{channel}"), last).await?;
            }
        }
        Ok(())
    }

    async fn print(&self, channel: &str, generation: &Generation) -> Result<(), Failure> {
        let status = self.store.evaluate(self.history, &generation.to, clock());
        let status = status.await?;
        if self.invocation.json {
            let mut value = serde_json::to_value(generation).unwrap_or_default();
            value["channel"] = channel.into();
            value["name"] = status.name.clone().into();
            value["status"] = status.state().as_str().into();
            if let Some(reason) = status.first_remark() {
                value["why"] = reason.into();
            }
            print_json(&value);
            return Ok(());
        }
        let note = generation.note.as_ref();
        let note = note.map_or(String::new(), |note| format!("  {note}"));
        let remark = match (status.state(), status.first_remark()) {
            (DeployState::Good, _) | (_, None) => String::new(),
            (state, Some(reason)) => format!("  {}: {reason}", state.as_str().to_uppercase()),
        };
        let line = columns(
            channel,
            &generation.generation.to_string(),
            &status.name,
            &generation.at.to_string(),
            &generation.reason.to_string(),
        );
        print_line(format!("{line}{note}{remark}").trim_end());
        Ok(())
    }
}

fn columns(channel: &str, generation: &str, image: &str, since: &str, reason: &str) -> String {
    format!("{channel:<28} {generation:>4}  {image:<28} {since:<20}  {reason:<8}")
}
