//! `channel`: where channels stand, and stood, and whether their images may be deployed.

use vault_bake::store::history::{Generation, History};
use vault_bake::store::{AnyBackend, DeployState, Store, StoreError};

use crate::args::ChannelVerb;
use crate::commands::rollback::split;
use crate::commands::{print_header, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, verb: Option<&ChannelVerb>) -> Result<Exit, Failure> {
    let store = session.open_store().await?;
    let history = store.history().await?;
    let view = View {
        session,
        store: &store,
        history: &history,
    };
    match verb {
        None => view.list(None).await?,
        Some(ChannelVerb::List { image }) => view.list(image.as_deref()).await?,
        Some(ChannelVerb::Show { channel }) => {
            let (name, wanted) = match channel.split_once('@') {
                Some((name, generation)) => (name, Some(number(generation)?)),
                None => (channel.as_str(), None),
            };
            let generations = positions(&history, name)?;
            let found = match wanted {
                None => generations.last(),
                Some(wanted) => generations.iter().find(|one| one.generation == wanted),
            };
            let missing = || StoreError::NoChannel(channel.clone());
            view.print(name, found.ok_or_else(missing)?).await?;
        }
        Some(ChannelVerb::Log { channel }) => {
            for generation in positions(&history, channel)?.iter().rev() {
                view.print(channel, generation).await?;
            }
        }
    }
    Ok(Exit::Done)
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::usage(format!("`{text}` is no generation: expected a number")))
}

fn positions<'a>(history: &'a History, name: &str) -> Result<&'a [Generation], Failure> {
    let (image, channel) = split(name)?;
    match history.channel(image, channel) {
        [] => Err(StoreError::NoChannel(name.to_owned()).into()),
        positions => Ok(positions),
    }
}

struct View<'a> {
    session: &'a Invocation,
    store: &'a Store<AnyBackend>,
    history: &'a History,
}

impl View<'_> {
    async fn list(&self, image: Option<&str>) -> Result<(), Failure> {
        if !self.session.json {
            print_header(&columns("CHANNEL", "GEN", "IMAGE", "SINCE", "REASON"));
        }
        for (name, channel, generations) in self.history.channels() {
            let wanted = image.is_none_or(|image| image == name);
            if let Some(last) = generations.last().filter(|_| wanted) {
                self.print(&format!("{name}:{channel}"), last).await?;
            }
        }
        Ok(())
    }

    async fn print(&self, channel: &str, generation: &Generation) -> Result<(), Failure> {
        let status = self.store.evaluate(self.history, &generation.to, clock());
        let status = status.await?;
        if self.session.json {
            let mut value = serde_json::to_value(generation).unwrap_or_default();
            value["channel"] = channel.into();
            value["name"] = status.name.clone().into();
            value["standing"] = status.state().as_str().into();
            if let Some(why) = status.remark() {
                value["why"] = why.into();
            }
            print_json(&value);
            return Ok(());
        }
        let note = generation.note.as_ref();
        let note = note.map_or(String::new(), |note| format!("  {note}"));
        let standing = match (status.state(), status.remark()) {
            (DeployState::Good, _) | (_, None) => String::new(),
            (state, Some(why)) => format!("  {}: {why}", state.as_str().to_uppercase()),
        };
        let line = columns(
            channel,
            &generation.generation.to_string(),
            &status.name,
            &generation.at.to_string(),
            &generation.reason.to_string(),
        );
        print_line(format!("{line}{note}{standing}").trim_end());
        Ok(())
    }
}

fn columns(channel: &str, generation: &str, image: &str, at: &str, reason: &str) -> String {
    format!("{channel:<28} {generation:>4}  {image:<28} {at:<20}  {reason:<8}")
}
