//! Renews an archive: new certificates and keys for the same names, everything else as it is.
//! That is all that a node accepts while its services run.

use jiff::Timestamp;

use super::archive::{self, Members};
use super::check::NodeFile;
use super::{Authority, IdentityError, Request, certificate, verify};
use crate::product::Product;
use crate::secret::Secret;
use crate::wait::Interrupt;

/// Returns `archive` with new certificates from `authority`, which must be the one it has.
pub async fn renew(
    archive: &[u8],
    authority: &Authority,
    valid_h: i64,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Secret, IdentityError> {
    let mut members = Members::read(&archive::decompressed(archive)?)?;
    let node = members.get_json::<NodeFile>("node.json")?.node;
    let failed = |reason: String| IdentityError::Renewal {
        node: node.clone(),
        reason,
    };
    for product in Product::NAMES {
        let Ok(old) = members.get(&format!("{product}/tls.crt")) else {
            continue;
        };
        let old = certificate::parse(old).map_err(&failed)?;
        if !authority.has_certificates(members.get(&format!("{product}/ca.pem"))?) {
            return Err(failed(format!("{product}/ca.pem is another authority")));
        }
        let leaf = old.first().map(|leaf| verify::names(leaf));
        let (names, addresses) = leaf.unwrap_or_default();
        let request = Request {
            names,
            addresses,
            valid_h,
        };
        let leaf = authority.issue(&request, now, interrupt).await?;
        members.put_leaf(product, &leaf);
    }
    Ok(members.to_tar(now))
}
