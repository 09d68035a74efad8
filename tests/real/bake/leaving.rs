//! Steps that restart or stop their machine by themselves.

use std::fs;

use super::shop::{Shop, said};

#[tokio::test]
async fn a_step_that_restarts_its_machine_fails_each_time_and_leaves_no_layer() {
    let Some(shop) = Shop::open(&[]).await else {
        return;
    };
    let step =
        |name: &str, line: &str| format!("[[step]]\nname = \"{name}\"\ninline = \"{line}\"\n\n");
    let build = ["build", "leaving", "--skip-test"];
    // Each twice, were it not for the time: a second bake must not continue from layers of the first.
    // A machine that is isolated may still answer the question that follows, or stop the server before it is asked.
    let isolated = ["it left multi-user.target", "the connection was lost"];
    for (line, seen) in [
        ("reboot", &[""][..]),
        ("reboot", &[""]),
        ("systemctl isolate rescue.target", &isolated),
        ("shutdown -r +5", &["a shutdown is scheduled"]),
    ] {
        let steps = [
            step("first", "true"),
            step("leaves", line),
            step("next", "true"),
        ];
        shop.define("leaving", &shop.small(&steps.concat()));
        shop.lock("leaving").await;
        let built = shop.run(&build, &[]).await;
        let words = said(&built);
        assert_eq!(built.status.code(), Some(3), "{line}: {words}");
        let error = "error: step leaves/script cannot be completed: the machine root@";
        assert!(
            words.contains(error) && seen.iter().any(|seen| words.contains(seen)),
            "{line}: {words}"
        );
        assert!(words.contains("`reboot = true`"), "{line}: {words}");
        assert!(!words.contains("next/script"), "{line}: {words}");
        let layers = fs::read_dir(shop.root().join("cache/layers"))
            .into_iter()
            .flatten();
        let records = layers
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
        assert_eq!(records.count(), 0, "{line}: {words}");
        shop.assert_nothing_left().await;
    }
}
