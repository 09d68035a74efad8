//! How a build or a test ends after its image is recorded.
//!
//! In: what was recorded, tested and left behind. Out: the exit status, or the failure, and the state in `finished`.

use vault_bake::bake::{Baked, Tested};
use vault_bake::manifest::TestRecord;

use crate::exit::{Exit, Failure};

/// The `state` of the event `finished` after an image was recorded.
pub fn state(tested: Option<&TestRecord>) -> &'static str {
    match tested {
        None => "untested",
        Some(record) if record.passed => "tested",
        Some(_) => "failed",
    }
}

/// Returns how a build ends whose image is recorded.
pub fn of_build(baked: &Baked) -> Result<Exit, Failure> {
    if !baked.leaks.is_empty() {
        let why = "the bake is recorded, but something is left behind";
        return Err(Failure::new(Exit::Leaked, why).leaking(&baked.leaks));
    }
    match &baked.tested {
        Some(record) if !record.passed => {
            let name = baked.manifest.name();
            let why = format!("{name} is recorded, but failed its test");
            let hint =
                format!("`vault-bake test {name}` repeats it; its log has what each check said");
            Err(Failure::new(Exit::Checks, why).hint(hint))
        }
        _ => Ok(Exit::Done),
    }
}

/// Returns how a test of the image `name` ends whose result is recorded.
pub fn of_test(name: &str, tested: &Tested) -> Result<Exit, Failure> {
    let failed = || Failure::new(Exit::Checks, format!("{name} failed its test"));
    match (tested.leaks.is_empty(), tested.record.passed) {
        (true, true) => Ok(Exit::Done),
        (true, false) => Err(failed()),
        (false, true) => {
            let why = "the test passed, but something is left behind";
            Err(Failure::new(Exit::Leaked, why).leaking(&tested.leaks))
        }
        (false, false) => Err(failed().leaking(&tested.leaks)),
    }
}
