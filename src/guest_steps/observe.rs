//! Runs the checks of a build before the seal, and reads packages, kernel and distribution.
//! Everything is read-only and mostly waits for programs to start, so two sessions share the work.

use tokio::try_join;

use super::checks::{self, CheckQueue};
use super::facts::{self, BootFacts, Packages};
use super::{CheckRecord, Phase, ProvisionError, StepContext};
use crate::ssh::{Session, SshError};

/// The state of a build VM before its seal.
pub struct InspectedVm {
    /// The records of all checks except those of the seal.
    pub checks: Vec<CheckRecord>,
    /// The installed packages.
    pub packages: Packages,
    /// The kernel and distribution.
    pub boot: BootFacts,
}

/// Runs the checks of a build, and reads packages, kernel and distribution.
pub async fn inspect(
    guest: &StepContext<'_>,
    session: &Session,
) -> Result<InspectedVm, ProvisionError> {
    let interrupt = guest.interrupt;
    let queue = CheckQueue::new(guest);
    let first = queue.run_all(guest, session);
    let second = async {
        let another = match session.open_another(guest.events, interrupt).await {
            Ok(another) => Some(another),
            Err(error @ SshError::Interrupted(_)) => {
                return Err(ProvisionError::ssh(session.endpoint(), error));
            }
            // The machine may accept only one session at a time.
            Err(_) => None,
        };
        let session = another.as_ref().unwrap_or(session);
        let packages = facts::inventory(session, interrupt).await?;
        let boot = facts::boot_facts(session, interrupt).await?;
        let results = queue.run_all(guest, session).await?;
        Ok((packages, boot, results))
    };
    let (mut results, (packages, boot, more)) = try_join!(first, second)?;
    results.extend(more);
    Ok(InspectedVm {
        checks: checks::evaluate(guest, Phase::Build, session, results)?,
        packages,
        boot,
    })
}
