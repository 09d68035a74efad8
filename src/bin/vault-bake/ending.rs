//! The end of a build or test whose image is recorded.
//! Takes test result and leftovers, returns exit code or failure, and the state for `finished`.

use vault_bake::bake::{Baked, Tested};
use vault_bake::manifest::TestRecord;

use crate::exit::{Exit, Failure};

/// Returns the `state` of the event `finished` for a recorded image.
pub fn state(tested: Option<&TestRecord>) -> &'static str {
    match tested {
        None => "untested",
        Some(record) if record.passed => "tested",
        Some(_) => "failed",
    }
}

/// Returns the end of a build whose image is recorded.
pub fn of_build(baked: &Baked) -> Result<Exit, Failure> {
    if !baked.leftovers.is_empty() {
        let message = "the image is recorded, but resources could not be removed";
        return Err(leftovers(message).with_leftovers(&baked.leftovers));
    }
    match &baked.tested {
        Some(record) if !record.passed => {
            let name = baked.manifest.name();
            let message = format!("{name} is recorded, but failed its test");
            let hint = format!(
                "Read in the log what each check printed. Run `vault-bake test {name}` to repeat the test."
            );
            Err(Failure::new(Exit::Checks, message).hint(hint))
        }
        _ => Ok(Exit::Done),
    }
}

/// Returns the end of a test of the image `name` whose result is recorded.
pub fn of_test(name: &str, tested: &Tested) -> Result<Exit, Failure> {
    if !tested.record.passed {
        let failed = Failure::new(Exit::Checks, format!("{name} failed its test"));
        return Err(failed.with_leftovers(&tested.leftovers));
    }
    if tested.leftovers.is_empty() {
        return Ok(Exit::Done);
    }
    let message = "the test passed, but resources could not be removed";
    Err(leftovers(message).with_leftovers(&tested.leftovers))
}

fn leftovers(message: &str) -> Failure {
    Failure::new(Exit::Leftovers, message).hint("Run `vault-bake sweep` to remove them.")
}
