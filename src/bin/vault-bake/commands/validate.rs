//! `validate`: checks definitions, without network and without side effects.

use vault_bake::definition::Definition;
use vault_bake::provisioner::Provisioners;

use crate::args::Vars;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub fn run(session: &Session, images: &[String], vars: &Vars) -> Result<Exit, Failure> {
    let images = if images.is_empty() {
        session.images()?
    } else {
        images.to_vec()
    };
    let mut exit = Exit::Done;
    for image in &images {
        match check(session, image, vars) {
            Ok(definition) if session.json => {
                print_json(
                    &serde_json::json!({"image": definition.name, "valid": true, "digest": definition.digest}),
                );
            }
            Ok(definition) => print_line(&format!(
                "{}: valid, {} steps",
                definition.name,
                definition.steps.len()
            )),
            Err(failure) => exit = failure.print(session.json, None),
        }
    }
    Ok(exit)
}

fn check(session: &Session, image: &str, vars: &Vars) -> Result<Definition, Failure> {
    let definition = session.load(image, vars)?;
    let provisioners = Provisioners::load(&session.provisioners()?, &definition)?;
    vault_bake::plan::judge(&definition, &provisioners)?;
    Ok(definition)
}
