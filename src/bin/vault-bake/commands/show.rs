//! `show`: the manifest of an image, and its tests.

use crate::commands::{print_file, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, reference: &str) -> Result<Exit, Failure> {
    let (store, digest) = session.find(reference).await?;
    let history = store.history().await?;
    let status = store.evaluate(&history, &digest, clock()).await?;
    let remark = status.remark();
    if session.json {
        // Standard output has the statement alone, for programs that read it whole.
        remark.iter().for_each(|why| print_warning(why));
        // The stored bytes themselves: their SHA-256 is the manifest's name.
        print_file(&store.object(&digest).await?);
        print_line("");
        return Ok(Exit::Done);
    }
    let manifest = store.manifest(&digest).await?;
    print_line(&format!("{digest}\n{manifest}"));
    let remark = remark.map_or(String::new(), |why| format!(": {why}"));
    print_line(&format!("standing  {}{remark}", status.state().as_str()));
    let channels: Vec<String> = history
        .holders(&digest)
        .map(|(image, channel, generation)| format!("{image}:{channel} (generation {generation})"))
        .collect();
    if !channels.is_empty() {
        print_line(&format!("channels  {}", channels.join(", ")));
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
