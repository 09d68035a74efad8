//! Checks the linter with any configuration file of Vault or Consul.

use vault_bake::lint::{Configuration, LintError, Role};
use vault_bake::product::Product;

/// Returns whether Vault would read `data`. Panics if the linter reports a line that the file does
/// not have.
pub fn check(data: &[u8]) -> bool {
    let vault = lint(Product::Vault, "vault", data);
    // Vault chooses the format by content, not by name.
    assert_eq!(vault, lint(Product::Vault, "vault.json", data));
    lint(Product::Consul, "consul.hcl", data);
    lint(Product::Consul, "consul.json", data);
    vault
}

fn lint(product: Product, name: &str, data: &[u8]) -> bool {
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut configuration = Configuration::new(product, None, Role::Image);
    match configuration.add_bytes(name, data) {
        Ok(()) => {}
        Err(LintError::Syntax { file, at, why, .. }) => {
            assert_eq!(file, name);
            assert!(
                (1..=lines).contains(&at.line) && at.column > 0,
                "{at}: {why}"
            );
            return false;
        }
        Err(error) => panic!("{error}"),
    }
    for finding in configuration.lint() {
        assert_eq!(finding.file, name);
        let line = finding.line.unwrap_or(1);
        assert!((1..=lines).contains(&line), "{finding}");
    }
    true
}
