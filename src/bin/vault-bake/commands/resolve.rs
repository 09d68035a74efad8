//! `resolve`: prints the id of an image in the format that a deployment reads.
//! Takes the image from the command line, or from Terraform on standard input.

use std::io::{Read as _, stdin};
use std::path::PathBuf;

use vault_bake::manifest::Reference;
use vault_bake::resolve::{Format, Query, Resolved};
use vault_bake::store::Allow;

use crate::args::pins::{Resolve, ResolveFormat};
use crate::commands::{pin, print_text, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Resolve) -> Result<Exit, Failure> {
    match resolve(invocation, args).await {
        Ok(text) => {
            print_text(&text);
            Ok(Exit::Done)
        }
        // Terraform shows standard error, and reads standard output as the answer.
        Err(failure) if args.format == ResolveFormat::TerraformExternal => Ok(failure.print_line()),
        Err(failure) => Err(failure),
    }
}

async fn resolve(invocation: &Invocation, args: &Resolve) -> Result<String, Failure> {
    let format = format(args)?;
    let request = Request::new(args)?;
    let target = request.target.as_deref();
    let Some(name) = &request.name else {
        return Err(Failure::usage("no image to resolve")
            .hint("Name a pin with --pins, or an image, for example `web:prod`."));
    };
    let resolved = if let Some(path) = &request.pins {
        let file = pin::parse(path)?;
        Resolved::from_pins(&file, name, target, invocation.keys.trust()?.as_ref())?
    } else {
        let reference: Reference = name.parse()?;
        let store = invocation.open_store().await?;
        let allow = Allow {
            revoked: args.allow_revoked,
            untested: args.allow_untested,
        };
        Resolved::from_store(&store, &reference, target, allow, clock()).await?
    };
    let text = resolved.write(&format)?;
    for warning in &resolved.warnings {
        print_warning(warning);
    }
    Ok(text)
}

fn format(args: &Resolve) -> Result<Format, Failure> {
    if !args.map.is_empty() && args.format != ResolveFormat::Bicep {
        return Err(Failure::usage("--map requires --format bicep"));
    }
    let mut map = Vec::new();
    for pair in &args.map {
        let Some((field, parameter)) = pair.split_once('=') else {
            let message = format!("--map {pair}: expected FIELD=PARAMETER");
            return Err(Failure::usage(message).hint("Write for example --map image_id=vmImageId."));
        };
        map.push((field.to_owned(), parameter.to_owned()));
    }
    Ok(match args.format {
        ResolveFormat::Json => Format::Json,
        ResolveFormat::Plain => Format::Plain,
        ResolveFormat::Tfvars => Format::Tfvars {
            name: args.name.clone(),
        },
        ResolveFormat::TerraformExternal => Format::TerraformExternal,
        ResolveFormat::Bicep => Format::Bicep { map },
        ResolveFormat::Env => Format::Env,
        ResolveFormat::Github => Format::Github,
    })
}

/// The requested image, from the command line and Terraform's query.
struct Request {
    pins: Option<PathBuf>,
    name: Option<String>,
    target: Option<String>,
}

impl Request {
    fn new(args: &Resolve) -> Result<Self, Failure> {
        let request = Self {
            pins: args.pins.clone(),
            name: args.reference.clone(),
            target: args.target.clone(),
        };
        if args.format == ResolveFormat::TerraformExternal {
            request.with_query(read_query()?)
        } else {
            Ok(request)
        }
    }

    /// Adds Terraform's query.
    fn with_query(mut self, query: Query) -> Result<Self, Failure> {
        if query.reference.is_some() && (query.pin.is_some() || query.pins_file.is_some()) {
            return Err(Failure::usage(
                "standard input: `ref` reads the store, `pin` and `pins_file` a pin file; expected one of them",
            ));
        }
        if query.reference.is_some() && self.pins.is_some() {
            return Err(Failure::usage(
                "standard input: `ref` reads the store, --pins a pin file; expected one of them",
            ));
        }
        let is_pin = query.pin.is_some();
        let pins_file = query.pins_file.map(PathBuf::from);
        merge(&mut self.name, query.pin.or(query.reference), "image")?;
        merge(&mut self.pins, pins_file, "pin file")?;
        merge(&mut self.target, query.target, "target")?;
        if is_pin && self.pins.is_none() {
            self.pins = Some(PathBuf::from(vault_bake::pin::FILE_NAME));
        }
        Ok(self)
    }
}

fn read_query() -> Result<Query, Failure> {
    let mut bytes = Vec::new();
    let mut input = stdin().lock().take(Query::READ_BYTES);
    input
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(Query::parse(&bytes)?)
}

/// Sets `value` to `queried`. Fails if the command line gave another value.
fn merge<T: PartialEq>(
    value: &mut Option<T>,
    queried: Option<T>,
    what: &str,
) -> Result<(), Failure> {
    if queried.is_none() {
        return Ok(());
    }
    if value.is_some() && *value != queried {
        return Err(Failure::usage(format!(
            "command line and standard input name a different {what}"
        )));
    }
    *value = queried;
    Ok(())
}
