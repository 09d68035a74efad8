//! Reads the serial console of a VM, and finds there that the kernel of the guest ended.
//! QEMU reports a panic only if the kernel has a driver for it, which it loads late in a boot.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::accelerator::Accelerator;
use crate::builder::EndCause;
use crate::process::end_of_log;

/// The serial console of one VM: a file that QEMU appends to.
pub(super) struct Console {
    path: PathBuf,
    accelerator: Accelerator,
    /// The number of bytes searched so far.
    searched: u64,
    /// The end of the searched bytes, in which a text may have begun.
    rest: Vec<u8>,
    kernel_end: Option<EndCause>,
}

impl Console {
    pub(super) fn new(path: PathBuf, accelerator: Accelerator) -> Self {
        Self {
            path,
            accelerator,
            searched: 0,
            rest: Vec::new(),
            kernel_end: None,
        }
    }

    /// Returns how the kernel of the guest ended, by the console. Reads only what is new.
    pub(super) fn kernel_end(&mut self) -> Option<EndCause> {
        if self.kernel_end.is_none() && self.read_on().is_ok() {
            let has = |text: &[u8]| self.rest.windows(text.len()).any(|found| found == text);
            self.kernel_end = if self.accelerator.is_emulation() && has(STALE_BREAKPOINT) {
                Some(EndCause::Emulation)
            } else {
                has(PANIC).then_some(EndCause::GuestPanic)
            };
            let first = self.rest.len().saturating_sub(OVERLAP_BYTES);
            self.rest.drain(..first);
        }
        self.kernel_end
    }

    /// Appends the new bytes of the file to `rest`.
    fn read_on(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.searched))?;
        self.searched += file.read_to_end(&mut self.rest)? as u64;
        Ok(())
    }

    /// Returns the last lines, without control characters. A VM that did not start has none.
    pub(super) fn last_lines(&self) -> Vec<String> {
        end_of_log(&self.path)
    }
}

/// What Linux prints last in a panic: <https://docs.kernel.org/admin-guide/bug-hunting.html>.
const PANIC: &[u8] = b"---[ end Kernel panic";

/// What Linux prints after a breakpoint that it does not know.
///
/// To change its own code, Linux puts a breakpoint there for a moment, and knows of it. QEMU before
/// 8.1 may run the old translation on another processor after that moment:
/// <https://bugzilla.redhat.com/show_bug.cgi?id=2216496>. No real processor does, so the emulation
/// is the cause and not the image.
const STALE_BREAKPOINT: &[u8] = b"int3: 0000 [#";

/// The longest text that is searched for, in bytes, or more.
const OVERLAP_BYTES: usize = 64;
