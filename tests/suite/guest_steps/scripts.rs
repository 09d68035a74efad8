//! The interpreter of a script.

use vault_bake::plan::{Interpreter, StepKind};

use super::*;

#[test]
fn a_first_line_is_read_as_linux_reads_it() {
    let read = |script: &[u8]| match Interpreter::detect(script) {
        Ok(interpreter) => {
            let env = interpreter
                .found_by_env()
                .map(|name| format!(" (env: {name})"));
            let Interpreter { program, argument } = &interpreter;
            format!("{program} {argument:?}{}", env.unwrap_or_default())
        }
        Err(error) => format!("refused: {error}"),
    };
    let table: Vec<String> = [
        "echo hello",
        "",
        "\n#!/bin/bash",
        " #!/bin/bash",
        "# /bin/bash",
        "#!/bin/bash",
        "#!/bin/bash\necho",
        "#! /bin/bash -eu  -o pipefail \n",
        "#!\t/usr/bin/python3\t-I",
        "#!/usr/bin/env bash",
        "#!/usr/bin/env -S bash -e",
        "#!/usr/bin/env -S LANG=C -i perl -w",
        "#!/usr/bin/env bash -e",
        "#!/usr/bin/env --split-string=awk -f",
        "#!bash",
        "#!",
        "#!  ",
        "#!env bash",
        "#!/bin/bash\r\necho",
        "\u{feff}#!/bin/bash",
    ]
    .iter()
    .map(|script| format!("{script:?}: {}", read(script.as_bytes())))
    .collect();
    insta::assert_snapshot!(table.join("\n"));
    assert!(read(b"#!/bin/\xff").starts_with("refused"));
}

/// Returns output and exit of a script with this text.
async fn run(text: &str) -> String {
    let own = step("own", StepKind::Shell, &[("script.sh", text)]);
    let (harness, session) = StepHarness::new(vec![own], Scrubber::default()).await;
    let endpoint = session.endpoint().to_string();
    let ended = match harness.steps(session).await {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string().replace(&endpoint, "HOST"),
    };
    let lines = harness.recorder.lines().join(" / ");
    format!("{lines} -> {}", ended.lines().next().unwrap_or_default())
}

#[tokio::test]
async fn a_script_is_run_by_what_its_first_line_names() {
    let mut table = Vec::new();
    for text in [
        "#!/bin/bash\nset -e\nif [[ x == x ]]; then echo branch; fi\necho finished",
        "#!/usr/bin/env bash\n[[ x == x ]] && echo branch",
        "#!/bin/bash -e\nfalse\necho never",
        "#!/bin/bash\nfalse\necho goes on",
        "#!/bin/sh\nfalse\necho goes on",
        "#!/bin/cat\na script is its interpreter's argument",
        "#!/usr/bin/env -S python3 -I\nimport sys\nprint(sys.flags.isolated, sys.argv)",
        "false\necho never",
        "cp /nonexistent/file /etc/ 2>&1 | tail -n 1\necho a pipe ends as its last command does",
        "false || echo handled\nif false; then :; fi\necho after",
        "# a comment\n\nfalse\necho never",
        "#!/opt/no-such-shell -x\necho never",
        "#!/usr/bin/env no-such-program\necho never",
        "#!/usr/bin/env bash -e\necho never",
        "exit 7",
    ] {
        table.push(format!("{text:?}\n  {}", run(text).await));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn provisioners_and_their_checks_are_run_by_what_they_name() {
    let steps = vec![
        provisioner(
            "app",
            "#!/bin/bash\na=(x y); echo \"installs ${#a[@]}\"",
            Some("#!/bin/bash\na=(x y); echo \"ok 1 - app.array: ${a[1]}\"; echo 1..1"),
        ),
        provisioner("seal", "false\necho never", None),
    ];
    let (harness, session) = StepHarness::new(steps, Scrubber::default()).await;
    let guest = harness.guest();
    let (session, _) = run_step(&guest, session, 0, async || None, false, &clock)
        .await
        .unwrap();
    let checks = vault_bake::guest_steps::run_checks(&guest, &session)
        .await
        .unwrap();
    assert_eq!(harness.recorder.lines(), ["installs 2"]);
    assert_eq!(checks[0].description, "y");
    let error = seal(&guest, &session, &clock).await.unwrap_err();
    assert!(
        matches!(error, ProvisionError::Step { exit: 1, .. }),
        "{error}"
    );
}
