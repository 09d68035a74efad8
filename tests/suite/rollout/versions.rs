//! Permitted jumps of versions: the tables.

use std::path::Path;

use vault_bake::product::Product;
use vault_bake::product::upgrade::jump;
use vault_bake::rollout::PlanError;

#[test]
fn jumps_are_permitted_or_refused_by_the_tables() {
    let table: &[(&str, &str, &str, &str)] = &[
        ("consul", "1.8.7", "1.8.7", ""),
        ("consul", "1.8.7", "1.8.19", ""),
        ("consul", "1.6.9", "1.8.19", ""),
        ("consul", "1.8.7", "1.10.12", ""),
        ("consul", "1.9.17", "1.10.12", ""),
        ("consul", "1.10.12", "1.12.9", ""),
        ("consul", "1.20.1", "1.21.8", ""),
        ("consul", "1.21.7", "2.0.0", ""),
        ("consul", "1.21.9", "2.0.3", ""),
        ("consul", "2.0.0", "2.1.0", ""),
        ("consul", "1.8.7+dfsg1", "1.8.7", ""),
        (
            "consul",
            "1.6.8",
            "1.9.0",
            "one upgrade may pass 2 minor versions",
        ),
        (
            "consul",
            "1.10.12",
            "1.13.0",
            "one upgrade may pass 2 minor versions",
        ),
        (
            "consul",
            "1.9.17",
            "1.11.0",
            "an upgrade must stop at 1.10.12",
        ),
        (
            "consul",
            "1.8.7",
            "1.14.0",
            "an upgrade must stop at 1.10.12",
        ),
        (
            "consul",
            "1.21.6",
            "2.0.0",
            "this jump to a new major version is in no table",
        ),
        (
            "consul",
            "1.20.0",
            "2.0.0",
            "this jump to a new major version is in no table",
        ),
        (
            "consul",
            "1.21.7",
            "2.1.0",
            "this jump to a new major version is in no table",
        ),
        (
            "consul",
            "2.1.0",
            "2.2.0",
            "2.2.0 is newer than the table of 2026-11-28",
        ),
        (
            "consul",
            "1.10.12",
            "1.10.11",
            "its data does not go back to an older version",
        ),
        (
            "consul",
            "1.10.0",
            "1.8.19",
            "its data does not go back to an older version",
        ),
        (
            "consul",
            "1.8.7",
            "1.8.7-beta1",
            "its data does not go back to an older version",
        ),
        ("vault", "1.14.9", "1.14.9", ""),
        ("vault", "1.14.9", "1.15.0", ""),
        ("vault", "1.2.0", "1.21.1", ""),
        ("vault", "1.2.0", "2.0.0", ""),
        ("vault", "2.0.0", "2.2.2", ""),
        (
            "vault",
            "1.15.0",
            "1.14.9",
            "its data does not go back to an older version",
        ),
        (
            "vault",
            "1.15.1",
            "1.15.0",
            "its data does not go back to an older version",
        ),
        (
            "vault",
            "1.21.0",
            "2.3.0",
            "2.3.0 is newer than the table of 2026-11-28",
        ),
        ("vault", "1.15.0", "latest", "`latest` is no version"),
    ];
    for (product, from, to, expected) in table {
        let known = Product::by_name(product).expect("a product");
        let found = jump(known, from, to);
        let text = found
            .as_ref()
            .map_or_else(ToString::to_string, |()| String::new());
        let full = format!("{product} {from} to {to}: {expected}");
        assert_eq!(
            text,
            if expected.is_empty() {
                ""
            } else {
                full.as_str()
            }
        );
        if let Err(refusal) = found {
            let may = refusal.can_be_allowed();
            assert_eq!(may, !text.contains("go back"), "{text}");
            assert_eq!(
                may,
                refusal.hint().contains("--allow-version-jump"),
                "{text}"
            );
        }
    }
    println!("{} jumps", table.len());
}

/// No hint leads to a restore that guards refuse afterwards: they lead to a part of the page.
#[test]
fn hints_about_older_versions_lead_forward() {
    let handed_over = PlanError::HandedOver {
        active: "dev-vault-2-1".to_owned(),
        new: "1.15.0".to_owned(),
        old: "1.14.9".to_owned(),
    };
    let hints = [
        jump(Product::Vault, "1.15.0", "1.14.9").unwrap_err().hint(),
        handed_over.hint().unwrap(),
        PlanError::NoLeader.hint().unwrap(),
    ];
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rollout.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("\n### Back to an older version\n"));
    for hint in hints {
        assert!(
            hint.contains("\"Back to an older version\" in docs/rollout.md"),
            "{hint}"
        );
        assert!(!hint.contains("restore"), "{hint}");
    }
}
