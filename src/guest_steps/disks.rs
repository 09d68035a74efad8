//! Finds full file systems of the machine after a failed step.
//! Returns text for the error, or nothing if all have room or the machine does not answer.

use std::time::Duration;

use super::StepContext;
use crate::ssh::{Script, Session};

/// The limit for the script.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A file system with less free space than this counts as full, in bytes.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// Ext4 reserves up to 4,096 blocks, which even root cannot use.
/// See `reserved_clusters` in the kernel's documentation of ext4.
const RESERVED_BLOCKS: u64 = 4096;

/// Prints one line for each folder. The fields are: file system id, block size, blocks, free
/// blocks, free blocks for users, inodes, free inodes, folder.
const STAT: &str =
    "for folder in / /boot /boot/efi /home /opt /srv /tmp /usr /var /var/lib /var/log /var/tmp WORK; do
    [ ! -d \"$folder\" ] || stat -f -c '%i %S %b %f %a %c %d %n' \"$folder\"
done
";

/// Names the full file systems of the machine, as in `/ has 0 of 3900 MiB free`.
pub(super) async fn full_file_systems(
    guest: &StepContext<'_>,
    session: &Session,
) -> Option<String> {
    let script = Script {
        name: "disk space".to_owned(),
        text: STAT.replace("WORK", &crate::ssh::quote(guest.work)),
        timeout: TIMEOUT,
    };
    // An error here must not hide the error of the step.
    let printed = session.output(script, guest.interrupt).await.ok()?;
    let mut seen_ids = Vec::new();
    let mut full = Vec::new();
    for line in printed.lines() {
        let mut fields = line.splitn(8, ' ');
        let id = fields.next()?;
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (size, blocks, free) = (number()?, number()?, number()?);
        let (for_users, inodes, free_inodes) = (number()?, number()?, number()?);
        let folder = fields.next()?;
        if seen_ids.contains(&id) {
            continue;
        }
        seen_ids.push(id);
        let mib = |blocks: u64| blocks.saturating_mul(size) >> 20;
        let reserved = if for_users == 0 { RESERVED_BLOCKS } else { 0 };
        let usable = free.saturating_sub(reserved).saturating_mul(size);
        if blocks > 0 && usable < MIN_FREE_BYTES {
            full.push(format!("{folder} has 0 of {} MiB free", mib(blocks)));
        } else if inodes > 0 && free_inodes == 0 {
            full.push(format!("{folder} has 0 of {inodes} inodes free"));
        }
    }
    (!full.is_empty()).then(|| full.join(", "))
}
