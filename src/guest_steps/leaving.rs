//! Checks after a step that the machine still runs; if not, [`ProvisionError::WentAway`] says why.
//! A session ends with its boot, so an answer proves that the machine did not reboot.
//! The state of systemd's targets shows a shutdown or an isolated target.

use std::time::Duration;

use super::error::DepartureReason;
use super::{ProvisionError, StepContext};
use crate::ssh::{Script, Session};

/// The limit for the script. `sync` may have much to write to a slow disk.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Fails if the machine does not answer, shuts down, or left its normal state.
/// If `sync` is set, the machine also flushes its disk caches.
pub(super) async fn check_still_up(
    guest: &StepContext<'_>,
    session: &Session,
    step: &str,
    sync: bool,
) -> Result<(), ProvisionError> {
    let sync = if sync { "sync\n" } else { "" };
    let script = Script {
        name: step.to_owned(),
        text: format!("{sync}{}", guest.reboot.state),
        timeout: TIMEOUT,
    };
    let printed = session.output(script, guest.interrupt).await;
    let printed = printed.map_err(|error| ProvisionError::ssh(session.endpoint(), error))?;
    match departure(&printed) {
        None => Ok(()),
        Some(how) => Err(ProvisionError::WentAway {
            step: step.to_owned(),
            endpoint: session.endpoint().to_string(),
            how,
        }),
    }
}

/// Returns why no step can run on a machine in this state, or `None` if steps can run.
fn departure(printed: &str) -> Option<DepartureReason> {
    if printed.lines().any(|line| line == "scheduled") {
        return Some(DepartureReason::Scheduled);
    }
    let units: Vec<&str> = printed.split("\n\n").collect();
    let value = |id: &str, key: &str| {
        let named = |unit: &&str| {
            unit.lines()
                .any(|line| line.strip_prefix("Id=") == Some(id))
        };
        let unit = units.iter().copied().find(named)?;
        let mut lines = unit.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(name, _)| *name == key)?;
        Some(value).filter(|value| !matches!(*value, "" | "0" | "n/a"))
    };
    let active = |id: &str| value(id, "ActiveState") == Some("active");
    if active("shutdown.target") || value("shutdown.target", "Job").is_some() {
        return Some(DepartureReason::ShuttingDown);
    }
    // A machine that never reached its normal target is still starting.
    let entered = value("multi-user.target", "ActiveEnterTimestampMonotonic").is_some();
    (entered && !active("multi-user.target")).then_some(DepartureReason::Isolated)
}
