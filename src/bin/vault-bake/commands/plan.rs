//! `plan`: prints every step of a bake with its digest.

use vault_bake::definition::BuilderKind;
use vault_bake::lock::Lock;
use vault_bake::plan::{Plan, has_base, plan};

use crate::args::{Image, Releases};
use crate::commands::{lock, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(
    session: &Invocation,
    image: &Image,
    releases: &Releases,
    builder: BuilderKind,
) -> Result<Exit, Failure> {
    print(session, &make(session, image, releases, builder)?);
    Ok(Exit::Done)
}

/// The plan of an image, from its definition and its lock.
pub fn make(
    session: &Invocation,
    image: &Image,
    releases: &Releases,
    builder: BuilderKind,
) -> Result<Plan, Failure> {
    let (definition, provisioners) = session.check_from(&image.image, &image.vars, releases)?;
    has_base(&definition, builder)?;
    let lock = Lock::load(&lock::path(image, &definition))?;
    let plan = plan(&definition, &lock, &provisioners, builder)?;
    lock::warn_about_fixtures(session, &lock);
    Ok(plan)
}

/// Prints a plan for whoever reads.
pub fn print(session: &Invocation, plan: &Plan) {
    if session.json {
        print_json(&plan.describe());
    } else {
        print_line(&plan.render());
    }
}
