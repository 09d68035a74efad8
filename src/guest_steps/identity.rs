//! Installs an identity archive over SSH, for machines without an identity disk.
//! The image needs no change: the archive is in a tmpfs, linked from the path of the identity disk.

use std::time::Duration;

use super::{ProvisionError, StepContext};
use crate::product::Product;
use crate::ssh::{Archive, Script, Session};

/// Uploads the identity archive `tar` and starts the services that wait for it.
///
/// The folder for uploads must exist. Does nothing in an image without identity support.
pub async fn give_identity(
    guest: &StepContext<'_>,
    session: &Session,
    tar: &[u8],
) -> Result<(), ProvisionError> {
    let folder = format!("{}/identity", guest.work);
    let ssh_error = |error| ProvisionError::ssh(session.endpoint(), error);
    let bytes = tar.to_vec();
    let size = bytes.len() as u64;
    let write = move |archive: &mut Archive<'_>| archive.bytes("seed", 0o600, &bytes);
    session
        .upload(&folder, Some(size), write, guest.events, guest.interrupt)
        .await
        .map_err(ssh_error)?;
    let units = Product::ALL.map(Product::unit);
    let script = Script {
        name: "identity".to_owned(),
        text: START
            .replace("FOLDER", &folder)
            .replace("UNITS", &units.join(" ")),
        timeout: Duration::from_secs(180),
    };
    session
        .output(script, guest.interrupt)
        .await
        .map_err(ssh_error)?;
    Ok(())
}

/// Starts the services. Their exit statuses are ignored, because the checks test the services.
const START: &str = r#"
set -eu
[ -r /etc/vault-bake/identity.conf ] || exit 0
. /etc/vault-bake/identity.conf
mkdir -p "$(dirname "$seed_device")"
ln -sfn FOLDER/seed "$seed_device"
systemctl reset-failed
systemctl restart vault-bake-identity.service || :
for unit in UNITS; do
    ! systemctl cat "$unit" >/dev/null 2>&1 || systemctl start "$unit" || :
done
"#;
