//! Finds out, after all steps but the seal, whether the machine is what it should be, and what it is.
//!
//! In: a session. Out: the checks of a build, packages, kernel and distribution. All of it only looks, and most of it
//! waits for programs to start, so two sessions share the work.

use tokio::try_join;

use super::checks::{self, Waiting};
use super::facts::{self, BootFacts, Packages};
use super::{CheckRecord, Guest, Phase, ProvisionError};
use crate::ssh::{Session, SshError};

/// What was seen in a machine before its seal.
pub struct Observed {
    /// Every check of every step but the seal.
    pub checks: Vec<CheckRecord>,
    /// The packages in it.
    pub packages: Packages,
    /// Its kernel and distribution.
    pub boot: BootFacts,
}

/// Makes the checks of a build, and reads what the machine is.
pub async fn observe(guest: &Guest<'_>, session: &Session) -> Result<Observed, ProvisionError> {
    let interrupt = guest.interrupt;
    let waiting = Waiting::new(guest);
    let here = waiting.make(guest, session);
    let there = async {
        let another = match session.another(guest.events, interrupt).await {
            Ok(another) => Some(another),
            Err(error @ SshError::Interrupted(_)) => {
                return Err(ProvisionError::ssh(session.endpoint(), error));
            }
            // A machine may let in one at a time.
            Err(_) => None,
        };
        let session = another.as_ref().unwrap_or(session);
        let packages = facts::inventory(session, interrupt).await?;
        let boot = facts::boot_facts(session, interrupt).await?;
        let made = waiting.make(guest, session).await?;
        Ok((packages, boot, made))
    };
    let (mut made, (packages, boot, more)) = try_join!(here, there)?;
    made.extend(more);
    Ok(Observed {
        checks: checks::evaluated(guest, Phase::Build, session, made)?,
        packages,
        boot,
    })
}
