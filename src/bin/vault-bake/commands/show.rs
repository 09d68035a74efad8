//! `show`: the manifest of an image, and its tests.

use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, reference: &str) -> Result<Exit, Failure> {
    let (store, digest) = session.find(reference).await?;
    if session.json {
        // The stored bytes themselves: their SHA-256 is the manifest's name.
        print_line(&String::from_utf8_lossy(&store.object(&digest).await?));
        return Ok(Exit::Done);
    }
    let manifest = store.manifest(&digest).await?;
    print_line(&format!("{digest}\n{manifest}"));
    if let Some(why) = store.recorded(&digest).await?.deleted {
        print_line(&format!("removed   the image file is gone: {why}"));
    }
    for test in store.tests(&digest).await? {
        let failed: Vec<&str> = test
            .checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| check.id.as_str())
            .collect();
        let result = if test.passed {
            "passed".to_owned()
        } else {
            format!("failed: {}", failed.join(", "))
        };
        print_line(&format!(
            "test      {} {} checks, {result}",
            test.ended_at,
            test.checks.len()
        ));
        if let Some(audit) = test.audit {
            let base = audit.base_index.map(|index| format!(", its base {index}"));
            print_line(&format!(
                "          {} {}: hardening index {}{}, {} warnings, {} suggestions",
                audit.tool,
                audit.version,
                audit.index,
                base.unwrap_or_default(),
                audit.warnings.len(),
                audit.suggestions.len()
            ));
        }
        if let Some(failure) = test.failure {
            print_line(&format!("          {failure}"));
        }
    }
    Ok(Exit::Done)
}
