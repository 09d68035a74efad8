//! An audit beside the checks: of the booted image, and of the base that it was made of.

use super::CheckSet;
use crate::builder::{Boot, Builder, Content, Disk, start};
use crate::guest_steps::{self, Audit, Lynis};
use crate::manifest::{AuditFact, CheckFact};
use crate::run_context::RunContext;
use crate::secret::Scrubber;
use crate::ssh::Keys;
use crate::teardown::Teardown;
use crate::wait::Interrupted;

/// What is audited beside the image, and by whose measure.
#[derive(Clone, Debug)]
pub struct Audits {
    /// Whose measure it is.
    pub lynis: Lynis,
    /// What the image was made of; none where that is not there any more.
    pub base: Option<Content>,
}

/// The check that an audit becomes.
pub const AUDIT_CHECK: &str = "audit.lynis";
/// The least hardening index that holds.
pub const LEAST_INDEX: u32 = 85;

/// Whether the image is hard enough.
pub(super) fn evaluate(audit: &Audit) -> CheckFact {
    CheckFact {
        description: format!("Lynis gives a hardening index of {LEAST_INDEX} or more"),
        id: AUDIT_CHECK.to_owned(),
        ok: audit.index >= LEAST_INDEX,
        skipped: None,
        step: "audit".to_owned(),
    }
}

pub(super) fn fact(audit: Audit, base_index: Option<u32>) -> AuditFact {
    AuditFact {
        base_index,
        index: audit.index,
        suggestions: audit.suggestions,
        tool: "lynis".to_owned(),
        version: audit.version,
        warnings: audit.warnings,
    }
}

impl Audits {
    /// The base's own index: it is booted as the image is. What an audit of the image said does not fall with the base's, which is
    /// a warning.
    pub(super) async fn of_base<B: Builder>(
        &self,
        builder: &B,
        checks: &CheckSet,
        teardown: &mut Teardown,
        world: &RunContext<'_>,
    ) -> Result<Option<u32>, Interrupted> {
        let Some(content) = &self.base else {
            return Ok(None);
        };
        match self.index(builder, content, checks, teardown, world).await {
            Ok(index) => Ok(Some(index)),
            Err(why) => {
                world.interrupt.check()?;
                world
                    .events
                    .warn(format!("the base could not be audited: {why}"));
                Ok(None)
            }
        }
    }

    async fn index<B: Builder>(
        &self,
        builder: &B,
        content: &Content,
        checks: &CheckSet,
        teardown: &mut Teardown,
        world: &RunContext<'_>,
    ) -> Result<u32, String> {
        let RunContext {
            events, interrupt, ..
        } = *world;
        let disk = Disk {
            content: content.clone(),
            firmware: checks.firmware,
            access: checks.access,
            kernel: None,
        };
        let keys = Keys::generate();
        let boot = Boot {
            disk: &disk,
            layer: None,
            machine: &checks.machine,
            keys: &keys,
            identity: None,
            role: "base",
            again: false,
        };
        let mut machine = None;
        let scrubber = Scrubber::default();
        let told = (events, interrupt);
        let starting = start::start(builder, boot, &scrubber, &mut machine, teardown, told);
        let session = starting.await.map_err(|error| error.to_string())?;
        let auditing =
            guest_steps::audit(&self.lynis, &session, world.guest_work, events, interrupt);
        let audit = auditing.await.map_err(|error| error.to_string())?;
        Ok(audit.index)
    }
}
