//! `plan`: prints every step of a build with its digest.

use vault_bake::lock::Lock;
use vault_bake::plan::{Plan, has_base, plan};
use vault_bake::platform;

use crate::args::build::{self, BuildSource};
use crate::commands::{lock, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(invocation: &Invocation, args: &build::Plan) -> Result<Exit, Failure> {
    print(invocation, &make(invocation, &args.source)?);
    Ok(Exit::Done)
}

/// Makes the plan of an image from its definition and its lock file.
pub fn make(invocation: &Invocation, source: &BuildSource) -> Result<Plan, Failure> {
    let builder = source.builder.as_str();
    let (definition, provisioners) =
        invocation.check_with_releases(&source.image, &source.releases)?;
    has_base(&definition, builder)?;
    let lock = Lock::load(
        &lock::path(&source.image, &definition),
        &platform::all(None),
    )?;
    let plan = plan(
        &definition,
        &lock,
        &provisioners,
        &platform::all(None),
        builder,
    )?;
    lock::warn_about_fixtures(invocation, &lock);
    Ok(plan)
}

/// Prints a plan.
pub fn print(invocation: &Invocation, plan: &Plan) {
    if invocation.json {
        print_json(&plan.describe());
    } else {
        print_line(&plan.render());
    }
}
