//! Checks the table `unseal`: key shares by the rules of Vault, and the kind of unseal.
//! OpenPGP keys are not read.

use super::{Checker, auto_unseal};
use crate::cluster::file::raw::{RawUnseal, SealName};
use crate::cluster::file::{Unseal, UnsealKind};

impl Checker<'_> {
    pub(super) fn unseal(&self, raw: RawUnseal) -> Unseal {
        let shares = self.number("unseal.shares", raw.shares, &(1..=255));
        let threshold = self.number("unseal.threshold", raw.threshold, &(1..=255));
        if let (Some(shares), Some(threshold)) = (shares, threshold) {
            self.shares(shares, threshold, raw.pgp_keys.len());
        }
        let named = raw.pgp_keys.iter().enumerate();
        let files =
            named.map(|(index, path)| self.file(&format!("unseal.pgp_keys[{}]", index + 1), path));
        let pgp_keys = files.flatten().collect();
        let env = auto_unseal::check_env(self.document, raw.kind, raw.env);
        let small = |number: Option<u32>| number.and_then(|number| u8::try_from(number).ok());
        Unseal {
            kind: match raw.kind {
                SealName::Shares => UnsealKind::Shares,
                SealName::Transit => UnsealKind::Transit(env),
                SealName::AzureKeyVault => UnsealKind::AzureKeyVault(env),
            },
            // A file with a refused number is not returned.
            shares: small(shares).unwrap_or_default(),
            threshold: small(threshold).unwrap_or_default(),
            pgp_keys,
        }
    }

    /// Checks the rules of Vault about shares.
    fn shares(&self, shares: u32, threshold: u32, keys: usize) {
        let pair = ["unseal.shares", "unseal.threshold"];
        let at = self.at("unseal.threshold");
        if threshold > shares {
            let problem = at.problem(format!(
                "{threshold} of {shares} shares are impossible; expected at most {shares}"
            ));
            self.record_conflict(
                &pair,
                problem.with_hint("Lower `threshold`, or raise `shares`."),
            );
        } else if shares > 1 && threshold == 1 {
            let problem = at
                .problem("Vault refuses a threshold of 1 with several shares; expected 2 or more");
            self.record_conflict(
                &pair,
                problem.with_hint("Raise `threshold`, or set `shares = 1`."),
            );
        }
        if keys != 0 && u32::try_from(keys) != Ok(shares) {
            let problem = self.at("unseal.pgp_keys").problem(format!(
                "{keys} keys for {shares} shares; expected one key for each share"
            ));
            let problem =
                problem.with_hint(format!("Name {shares} keys, or set `shares = {keys}`."));
            self.record_conflict(&["unseal.shares", "unseal.pgp_keys"], problem);
        }
    }
}
