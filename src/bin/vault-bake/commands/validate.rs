//! `validate`: checks definitions, without network and without side effects.

use vault_bake::lint;

use crate::args::Vars;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(session: &Invocation, images: &[String], vars: &Vars) -> Result<Exit, Failure> {
    let images = if images.is_empty() {
        session.images()?
    } else {
        images.to_vec()
    };
    session.warn_about_variables(&images);
    let mut exit = Exit::Done;
    for image in &images {
        let vars = session.shared_vars(image, &images, vars)?;
        match session.check(image, &vars).and_then(|(definition, _)| {
            lint::check_allowed(&definition.allowed)?;
            Ok(definition)
        }) {
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
