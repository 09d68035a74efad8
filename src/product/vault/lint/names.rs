//! How Vault compares the keys of its files.

use crate::lint::Names;

pub(super) const NAMES: Names = Names {
    exact: &[
        "backend",
        "ha_backend",
        "ha_storage",
        "kms",
        "seal",
        "service_registration",
        "storage",
    ],
    of_user: &["custom_response_headers"],
    aliases: &[],
    sections: &[],
    top_sections: &[],
};
