//! Turns the Lynis audit of a booted image into a check, and audits its base for comparison.

use super::CheckSet;
use crate::builder::{Boot, Builder, Content, Disk, start};
use crate::guest_steps::{self, Audit, Lynis};
use crate::manifest::{AuditFact, CheckFact};
use crate::run_context::RunContext;
use crate::secret::Scrubber;
use crate::ssh::Keys;
use crate::teardown::Teardown;
use crate::wait::Interrupted;

/// The settings for the audits of an image and its base.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The parts of Lynis on this computer.
    pub lynis: Lynis,
    /// The base of the image, if it still exists.
    pub base: Option<Content>,
}

/// The id of the check for an audit.
pub const AUDIT_CHECK: &str = "audit.lynis";
/// The lowest hardening index that passes.
pub const MIN_HARDENING_INDEX: u32 = 85;

/// Returns the check for an audit.
pub(super) fn evaluate(audit: &Audit) -> CheckFact {
    CheckFact {
        description: format!("Lynis gives a hardening index of {MIN_HARDENING_INDEX} or more"),
        id: AUDIT_CHECK.to_owned(),
        ok: audit.index >= MIN_HARDENING_INDEX,
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

impl AuditOptions {
    /// Boots the base as the image is booted, and returns its hardening index.
    ///
    /// A failure is only a warning, so that the result for the image is kept.
    pub(super) async fn audit_base<B: Builder>(
        &self,
        builder: &B,
        checks: &CheckSet,
        teardown: &mut Teardown,
        context: &RunContext<'_>,
    ) -> Result<Option<u32>, Interrupted> {
        let Some(content) = &self.base else {
            return Ok(None);
        };
        let auditing = self.hardening_index(builder, content, checks, teardown, context);
        match auditing.await {
            Ok(index) => Ok(Some(index)),
            Err(why) => {
                context.interrupt.check()?;
                context.events.warn(format!("cannot audit the base: {why}"));
                Ok(None)
            }
        }
    }

    async fn hardening_index<B: Builder>(
        &self,
        builder: &B,
        content: &Content,
        checks: &CheckSet,
        teardown: &mut Teardown,
        context: &RunContext<'_>,
    ) -> Result<u32, String> {
        let RunContext {
            events, interrupt, ..
        } = *context;
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
            is_retry: false,
        };
        let mut machine = None;
        let scrubber = Scrubber::default();
        let reporting = (events, interrupt);
        let starting = start::start(builder, boot, &scrubber, &mut machine, teardown, reporting);
        let session = starting.await.map_err(|error| error.to_string())?;
        let auditing =
            guest_steps::audit(&self.lynis, &session, context.guest_work, events, interrupt);
        let audit = auditing.await.map_err(|error| error.to_string())?;
        Ok(audit.index)
    }
}
