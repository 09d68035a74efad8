//! `show`: prints the manifest of an image, its status, channels and tests.

use vault_bake::manifest::{AuditFact, TestRecord};

use crate::args::release::Show;
use crate::commands::{print_file, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Show) -> Result<Exit, Failure> {
    let (store, digest) = invocation.find(&args.image.reference).await?;
    let history = store.history().await?;
    let status = store.evaluate(&history, &digest, clock()).await?;
    let remark = status.first_remark();
    if invocation.json {
        // Programs read standard output as one document, so the remark goes to standard error.
        remark.iter().for_each(|reason| print_warning(reason));
        // The stored bytes, because their SHA-256 is the digest of the manifest.
        print_file(&store.object(&digest).await?);
        print_line("");
        return Ok(Exit::Done);
    }
    let manifest = store.manifest(&digest).await?;
    print_line(&format!("{digest}\n{manifest}"));
    let remark = remark.map_or(String::new(), |reason| format!(": {reason}"));
    print_line(&format!("status    {}{remark}", status.state().as_str()));
    let channels: Vec<String> = history
        .holders(&digest)
        .map(|(image, channel, generation)| format!("{image}:{channel} (generation {generation})"))
        .collect();
    if !channels.is_empty() {
        print_line(&format!("channels  {}", channels.join(", ")));
    }
    for test in store.tests(&digest).await? {
        print_test(&test);
    }
    Ok(Exit::Done)
}

fn print_test(test: &TestRecord) {
    let failed = test.checks.iter().filter(|check| !check.ok);
    let failed: Vec<&str> = failed.map(|check| check.id.as_str()).collect();
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
    if let Some(audit) = &test.audit {
        print_audit(audit);
    }
    if let Some(failure) = &test.failure {
        print_line(&format!("          {failure}"));
    }
}

fn print_audit(audit: &AuditFact) {
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
