//! Sees, after a step, that the machine is still the one in which the step ran.
//!
//! In: the session of the step. Out: nothing, or [`ProvisionError::WentAway`]. A session ends with its boot, so an answer
//! on it means the same boot; what systemd answers means that the machine neither shuts down nor was isolated.

use std::time::Duration;

use super::error::Leaving;
use super::{Guest, ProvisionError};
use crate::ssh::{Script, Session};

/// A slow disk with much to write.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Fails if the machine does not answer any more, shuts down, or left its normal state. With `sync` it also writes to its
/// disk all that it holds back.
pub(super) async fn check(
    guest: &Guest<'_>,
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
    match left(&printed) {
        None => Ok(()),
        Some(how) => Err(ProvisionError::WentAway {
            step: step.to_owned(),
            endpoint: session.endpoint().to_string(),
            how,
        }),
    }
}

/// Why no further step can run on a machine in this state, if so.
fn left(printed: &str) -> Option<Leaving> {
    if printed.lines().any(|line| line == "scheduled") {
        return Some(Leaving::Scheduled);
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
        return Some(Leaving::ShuttingDown);
    }
    // A machine that never came to its normal target is still starting.
    let entered = value("multi-user.target", "ActiveEnterTimestampMonotonic").is_some();
    (entered && !active("multi-user.target")).then_some(Leaving::Isolated)
}
