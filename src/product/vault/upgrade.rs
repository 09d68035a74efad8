//! Which jumps of versions Vault permits: each to a newer version.

use crate::product::upgrade::Table;

pub(super) const TABLE: Table = Table {
    newest: (2, 2),
    source: "https://developer.hashicorp.com/vault/docs/upgrading",
    refusal: |_, _| None,
};
