//! Finds file systems of the machine that are full, once a step has failed.
//!
//! In: a session. Out: a sentence for the error; nothing if all have room, or if the machine does not say.

use std::time::Duration;

use super::Guest;
use crate::ssh::{Script, Session};

/// At the most, for asking.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A file system with less room than this is full, in bytes.
const LEAST_BYTES: u64 = 1 << 20;

/// Ext4 keeps up to 4,096 blocks from every user, root included (`reserved_clusters` in the kernel's documentation of ext4).
const RESERVED_BLOCKS: u64 = 4096;

/// One line for each place: its file system's id, block size, blocks, free blocks, those for users, inodes, free inodes.
const ASK: &str =
    "for at in / /boot /boot/efi /home /opt /srv /tmp /usr /var /var/lib /var/log /var/tmp WORK; do
    [ ! -d \"$at\" ] || stat -f -c '%i %S %b %f %a %c %d %n' \"$at\"
done
";

/// Names the file systems of the machine that are full.
pub(super) async fn full(guest: &Guest<'_>, session: &Session) -> Option<String> {
    let script = Script {
        name: "disk space".to_owned(),
        text: ASK.replace("WORK", &crate::ssh::quote(guest.work)),
        timeout: TIMEOUT,
    };
    // The step has failed for a reason that is told anyway.
    let printed = session.output(script, guest.interrupt).await.ok()?;
    let mut seen = Vec::new();
    let mut full = Vec::new();
    for line in printed.lines() {
        let mut fields = line.splitn(8, ' ');
        let id = fields.next()?;
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (size, blocks, free) = (number()?, number()?, number()?);
        let (for_users, inodes, free_inodes) = (number()?, number()?, number()?);
        let at = fields.next()?;
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let mib = |blocks: u64| blocks.saturating_mul(size) >> 20;
        let reserved = if for_users == 0 { RESERVED_BLOCKS } else { 0 };
        let usable = free.saturating_sub(reserved).saturating_mul(size);
        if blocks > 0 && usable < LEAST_BYTES {
            full.push(format!("{at} has 0 of {} MiB free", mib(blocks)));
        } else if inodes > 0 && free_inodes == 0 {
            full.push(format!("{at} has 0 of {inodes} inodes free"));
        }
    }
    (!full.is_empty()).then(|| full.join(", "))
}
