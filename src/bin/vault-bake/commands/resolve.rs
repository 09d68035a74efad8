//! `resolve`: what a deployment needs of an image.

use std::io::{Read as _, stdin};
use std::path::PathBuf;

use vault_bake::manifest::{InvalidReference, Reference};
use vault_bake::resolve::{Format, Query, Resolved};
use vault_bake::store::Allow;

use crate::args::pins::{Form, Resolve};
use crate::commands::{pin, print_text, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, wish: &Resolve) -> Result<Exit, Failure> {
    match answer(session, wish).await {
        Ok(text) => {
            print_text(&text);
            Ok(Exit::Done)
        }
        // Terraform shows standard error, and nothing but an answer may be on standard output.
        Err(failure) if wish.format == Form::TerraformExternal => Ok(failure.print_line()),
        Err(failure) => Err(failure),
    }
}

async fn answer(session: &Invocation, wish: &Resolve) -> Result<String, Failure> {
    let format = format(wish)?;
    let asked = Asked::new(wish)?;
    let target = asked.target.as_deref();
    let resolved = match (&asked.pins, &asked.name) {
        (_, None) => {
            return Err(Failure::usage("nothing to resolve: name a pin or an image"));
        }
        (Some(path), Some(name)) => {
            let file = pin::parse(path)?;
            Resolved::from_pins(&file, name, target, session.keys.trust()?.as_ref())?
        }
        (None, Some(name)) => {
            let reference: Reference = name
                .parse()
                .map_err(|error: InvalidReference| Failure::usage(error.to_string()))?;
            let store = session.open_store().await?;
            let allow = Allow {
                revoked: wish.allow_revoked,
                untested: wish.allow_untested,
            };
            Resolved::from_store(&store, &reference, target, allow, clock()).await?
        }
    };
    let text = resolved.write(&format)?;
    for warning in &resolved.warnings {
        print_warning(warning);
    }
    Ok(text)
}

fn format(wish: &Resolve) -> Result<Format, Failure> {
    if !wish.map.is_empty() && wish.format != Form::Bicep {
        return Err(Failure::usage("--map is for --format bicep"));
    }
    let mut map = Vec::new();
    for pair in &wish.map {
        let Some((field, parameter)) = pair.split_once('=') else {
            let why = format!("--map {pair}: expected FIELD=PARAMETER");
            return Err(Failure::usage(why).hint("as in --map image_id=vmImageId"));
        };
        map.push((field.to_owned(), parameter.to_owned()));
    }
    Ok(match wish.format {
        Form::Json => Format::Json,
        Form::Plain => Format::Plain,
        Form::Tfvars => Format::Tfvars {
            name: wish.name.clone(),
        },
        Form::TerraformExternal => Format::TerraformExternal,
        Form::Bicep => Format::Bicep { map },
        Form::Env => Format::Env,
        Form::Github => Format::Github,
    })
}

/// What is asked for, by the command line and by Terraform's query.
struct Asked {
    pins: Option<PathBuf>,
    name: Option<String>,
    target: Option<String>,
}

impl Asked {
    fn new(wish: &Resolve) -> Result<Self, Failure> {
        let mut asked = Self {
            pins: wish.pins.clone(),
            name: wish.reference.clone(),
            target: wish.target.clone(),
        };
        if wish.format != Form::TerraformExternal {
            return Ok(asked);
        }
        let mut bytes = Vec::new();
        let read = stdin().lock().take(Query::READ_BYTES);
        let read = { read }.read_to_end(&mut bytes);
        read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        let query = Query::parse(&bytes)?;
        if query.reference.is_some() && (query.pin.is_some() || query.pins_file.is_some()) {
            return Err(Failure::usage(
                "standard input: `ref` asks the store, `pin` and `pins_file` a pin file: not both",
            ));
        }
        let by_reference = query.reference.is_some();
        if by_reference && asked.pins.is_some() {
            return Err(Failure::usage(
                "standard input: `ref` asks the store, --pins a pin file: not both",
            ));
        }
        let by_pin = query.pin.is_some();
        one(&mut asked.name, query.pin.or(query.reference), "the image")?;
        one(
            &mut asked.pins,
            query.pins_file.map(PathBuf::from),
            "the pin file",
        )?;
        one(&mut asked.target, query.target, "the target")?;
        if by_pin && asked.pins.is_none() {
            asked.pins = Some(PathBuf::from(vault_bake::pin::FILE_NAME));
        }
        Ok(asked)
    }
}

/// Who says a thing twice has to say the same.
fn one<T: PartialEq>(place: &mut Option<T>, said: Option<T>, what: &str) -> Result<(), Failure> {
    match (&*place, said) {
        (_, None) => Ok(()),
        (Some(there), Some(said)) if *there != said => Err(Failure::usage(format!(
            "the command line and standard input differ about {what}"
        ))),
        (_, said) => {
            *place = said;
            Ok(())
        }
    }
}
