//! `channel`: where channels stand, and stood.

use vault_bake::store::StoreError;
use vault_bake::store::history::{Generation, History};

use crate::args::ChannelVerb;
use crate::commands::rollback::split;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, verb: &ChannelVerb) -> Result<Exit, Failure> {
    let history = session.open_store().await?.history().await?;
    match verb {
        ChannelVerb::List { image } => {
            for (name, channel, generations) in history.channels() {
                if image.as_ref().is_none_or(|image| image == name) {
                    generations.iter().rev().take(1).for_each(|generation| {
                        show(session, &history, &format!("{name}:{channel}"), generation);
                    });
                }
            }
        }
        ChannelVerb::Show { channel } => {
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
            show(session, &history, name, found.ok_or_else(missing)?);
        }
        ChannelVerb::Log { channel } => {
            for generation in positions(&history, channel)?.iter().rev() {
                show(session, &history, channel, generation);
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

fn show(session: &Session, history: &History, channel: &str, generation: &Generation) {
    let recorded = history.by_digest(&generation.to);
    let name = recorded.map_or_else(|| generation.to.to_string(), |one| one.put.name());
    if session.json {
        let mut value = serde_json::to_value(generation).unwrap_or_default();
        value["channel"] = channel.into();
        value["name"] = name.into();
        print_json(&value);
        return;
    }
    let note = generation.note.as_ref();
    let note = note.map_or(String::new(), |note| format!("  {note}"));
    let line = format!(
        "{channel:<28} {:>4}  {name:<28} {}  {:<8}{note}",
        generation.generation, generation.at, generation.reason
    );
    print_line(line.trim_end());
}
