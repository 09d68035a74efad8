//! Boot, provisioning and capture with a real machine × a failure, a SIGINT and a kill -9: what is left behind.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests use the binary as a person does, from outside"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::shop::{Shop, said};

/// A stage, the event that tells of it, and the exit status of a failure there.
const STAGES: [(&str, &str, i32); 3] = [
    ("boot", r#""event":"stage-started","stage":"boot""#, 1),
    ("provision", r#""event":"step-started""#, 3),
    ("capture", r#""event":"stage-started","stage":"capture""#, 1),
];

async fn small_shop() -> Option<Shop> {
    let shop = Shop::open(&[]).await?;
    // Long enough to be met in the middle of it.
    shop.define(
        "small",
        &shop.small("[[step]]\nname = \"slow\"\ninline = \"sleep 3\"\n"),
    );
    shop.lock("small").await;
    Some(shop)
}

const BUILD: [&str; 4] = ["build", "small", "--skip-test", "--json"];

#[tokio::test]
async fn a_failure_with_a_real_machine_leaves_nothing() {
    let Some(shop) = small_shop().await else {
        return;
    };
    let slow =
        shop.small("[[step]]\nname = \"failing\"\ninline = \"printf 'on purpose\\\\033]0;t\\\\007\\\\033[2J\\\\302\\\\233' >&2; exit 4\"\n");
    let impatient = shop
        .small("[[step]]\ninline = \"true\"\n")
        .replace("network", "boot_timeout_s = 10\nnetwork");
    for (stage, _, exit) in STAGES {
        let definition = match stage {
            "boot" => &impatient,
            "provision" => &slow,
            _ => &shop.small("[[step]]\ninline = \"true\"\n"),
        };
        shop.define("small", definition);
        let tools = (stage == "capture").then(|| broken_qemu_img(&shop));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = tools.map_or(path.clone(), |tools| format!("{}:{path}", tools.display()));
        let built = shop.run(&BUILD, &[("PATH", &path)]).await;
        assert_eq!(built.status.code(), Some(exit), "{stage}: {}", said(&built));
        let words = match stage {
            "boot" => "did not answer on ssh within",
            "provision" => "step failing/script failed on root@",
            _ => "no space, says the test",
        };
        assert!(said(&built).contains(words), "{stage}: {}", said(&built));
        if stage == "provision" {
            assert_nothing_is_obeyed(&shop, &built);
        }
        fs::remove_dir_all(shop.root().join("tools")).ok();
        shop.assert_nothing_left().await;
    }
    assert_store_is_empty(&shop).await;
}

/// What the failed step printed is shown, in output and log, without a character that a terminal obeys.
fn assert_nothing_is_obeyed(shop: &Shop, built: &std::process::Output) {
    let logs = fs::read_dir(shop.root().join("cache/logs")).expect("logs");
    let logs = logs.map(|log| fs::read_to_string(log.expect("a log").path()).expect("a log"));
    let texts: Vec<String> = logs.chain([said(built)]).collect();
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!texts.iter().any(|text| text.contains(obeyed)), "{texts:?}");
    let seen = texts.iter().filter(|text| text.contains("on purpose"));
    assert!(seen.count() > 1, "{texts:?}");
    assert!(
        texts
            .iter()
            .any(|text| text.contains("on purpose^[]0;t^G^[[2J<U+009B>"))
    );
}

#[tokio::test]
async fn a_sigint_with_a_real_machine_leaves_nothing() {
    let Some(shop) = small_shop().await else {
        return;
    };
    for (stage, event, _) in STAGES {
        let mut child = shop.run_until(&BUILD, None, event).await;
        send(&child, Signal::INT);
        let status = child.wait().await.expect("its end");
        assert_eq!(status.code(), Some(130), "{stage}");
        shop.assert_nothing_left().await;
    }
    assert_store_is_empty(&shop).await;
}

#[tokio::test]
async fn after_a_kill_with_a_real_machine_a_sweep_leaves_nothing() {
    let Some(shop) = small_shop().await else {
        return;
    };
    // Somebody else's bake must survive the sweeps.
    let decoy = shop.root().join("images/decoy");
    fs::write(&decoy, "not ours to remove").expect("a file");
    for (stage, event, _) in STAGES {
        let mut child = shop.run_until(&BUILD, None, event).await;
        send(&child, Signal::KILL);
        child.wait().await.expect("its end");
        let would = shop.run(&["sweep", "--dry-run"], &[]).await;
        assert!(
            said(&would).contains("would sweep"),
            "{stage}: {}",
            said(&would)
        );
        let swept = shop.run(&["sweep"], &[]).await;
        assert_eq!(swept.status.code(), Some(0), "{stage}: {}", said(&swept));
        shop.assert_nothing_left().await;
        assert!(decoy.exists());
    }
    assert_store_is_empty(&shop).await;
}

#[tokio::test]
async fn a_machine_that_is_kept_lets_its_owner_in_until_it_is_swept() {
    let Some(shop) = small_shop().await else {
        return;
    };
    shop.define(
        "small",
        &shop.small("[[step]]\nname = \"failing\"\ninline = \"exit 4\"\n"),
    );
    let built = shop
        .run(&["build", "small", "--on-error", "keep"], &[])
        .await;
    assert_eq!(built.status.code(), Some(3), "{}", said(&built));
    let text = said(&built);
    let login = text
        .lines()
        .find(|line| line.trim().starts_with("ssh -i "))
        .expect("a way in");
    let inside = tokio::process::Command::new("sh")
        .args([
            "-c",
            &format!("{login} -o BatchMode=yes cat /etc/os-release"),
        ])
        .output()
        .await
        .expect("ssh");
    assert!(
        said(&inside).contains("Debian"),
        "{login}: {}",
        said(&inside)
    );
    assert_eq!(shop.run(&["sweep"], &[]).await.status.code(), Some(0));
    shop.assert_nothing_left().await;
}

fn send(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .expect("it runs");
    kill_process(pid, signal).expect("a signal");
}

/// A `qemu-img` that cannot convert.
fn broken_qemu_img(shop: &Shop) -> PathBuf {
    let tools = shop.root().join("tools");
    fs::create_dir_all(&tools).expect("a folder");
    let path = tools.join("qemu-img");
    let text = "#!/bin/sh\n[ \"$1\" != convert ] || { echo 'no space, says the test' >&2; exit 1; }\nexec /usr/bin/qemu-img \"$@\"\n";
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    tools
}

async fn assert_store_is_empty(shop: &Shop) {
    let verified = shop.run(&["verify"], &[]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    assert!(
        said(&verified).contains("0 manifests"),
        "{}",
        said(&verified)
    );
}
