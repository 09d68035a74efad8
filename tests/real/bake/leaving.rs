//! Steps that reboot or stop their build VM by themselves.

use std::fs;

use crate::project::{TestProject, output_text};

/// The command of a step, and the possible texts of its error.
type Case = (&'static str, &'static [&'static str]);

const REBOOT: Case = ("reboot", &[""]);

#[tokio::test]
async fn a_step_that_reboots_its_build_vm_fails_and_leaves_no_layer() {
    leave_by(&[REBOOT]).await;
}

async fn leave_by(cases: &[Case]) {
    let Some(project) = TestProject::open(&[]).await else {
        return;
    };
    let step =
        |name: &str, line: &str| format!("[[step]]\nname = \"{name}\"\ninline = \"{line}\"\n\n");
    let build = ["build", "leaving", "--skip-test"];
    for (line, seen) in cases {
        let steps = [
            step("first", "true"),
            step("leaves", line),
            step("next", "true"),
        ];
        project.define("leaving", &project.small(&steps.concat()));
        project.lock("leaving").await;
        let built = project.run(&build, &[]).await;
        let words = output_text(&built);
        assert_eq!(built.status.code(), Some(3), "{line}: {words}");
        let error = "error: step leaves/script cannot be completed: the machine root@";
        assert!(
            words.contains(error) && seen.iter().any(|seen| words.contains(seen)),
            "{line}: {words}"
        );
        assert!(words.contains("`reboot = true`"), "{line}: {words}");
        assert!(!words.contains("next/script"), "{line}: {words}");
        let layers = fs::read_dir(project.root().join("cache/layers"))
            .into_iter()
            .flatten();
        let records = layers
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
        assert_eq!(records.count(), 0, "{line}: {words}");
        project.assert_nothing_left().await;
    }
}

mod exhaustive {
    use super::*;

    /// An isolated build VM may answer the next request, or stop its server before.
    const ISOLATED: Case = (
        "systemctl isolate rescue.target",
        &["it left multi-user.target", "the connection was lost"],
    );
    const SCHEDULED: Case = ("shutdown -r +5", &["a shutdown is scheduled"]);

    /// The second `reboot` shows that a build does not use cache entries of the first.
    #[tokio::test]
    async fn a_step_that_stops_its_build_vm_in_any_way_fails_and_leaves_no_layer() {
        leave_by(&[REBOOT, REBOOT, ISOLATED, SCHEDULED]).await;
    }
}
