//! `validate`: checks definitions and their provisioners, without network and side effects.

use vault_bake::definition::Definition;
use vault_bake::lint;

use crate::args::Vars;
use crate::args::build::Validate;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(invocation: &Invocation, args: &Validate) -> Result<Exit, Failure> {
    let images = if args.images.is_empty() {
        invocation.images()?
    } else {
        args.images.clone()
    };
    invocation.warn_about_variables(&images);
    let mut exit = Exit::Done;
    for image in &images {
        let vars = invocation.shared_vars(image, &images, &args.vars)?;
        match check(invocation, image, &vars) {
            Ok(definition) => print_valid(invocation, &definition),
            Err(failure) => exit = failure.print(invocation.json, None),
        }
    }
    Ok(exit)
}

fn check(invocation: &Invocation, image: &str, vars: &Vars) -> Result<Definition, Failure> {
    let (definition, _) = invocation.check(image, vars)?;
    lint::check_allowed(&definition.allowed)?;
    Ok(definition)
}

fn print_valid(invocation: &Invocation, definition: &Definition) {
    let (name, steps) = (&definition.name, definition.steps.len());
    if invocation.json {
        let digest = &definition.digest;
        print_json(&serde_json::json!({"image": name, "valid": true, "digest": digest}));
    } else {
        print_line(&format!("{name}: valid, {steps} steps"));
    }
}
