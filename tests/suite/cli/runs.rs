//! Network and folders that commands use: plans use no network.

use std::net::TcpListener;

use super::records::recorded;
use super::*;

/// Environment variables that send requests of any kind to this address.
fn proxies(address: &str) -> Vec<(&'static str, String)> {
    let names = [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ];
    names.map(|name| (name, address.to_owned())).to_vec()
}

/// All addresses of the definition point to this test, which records every connection.
/// If the host supports it, the binary runs without a network.
#[test]
fn validate_and_plan_connect_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let folder = project();
    let base =
        format!("[base.qemu]\nkind = \"packages\"\nextra = []\nmirror = \"{address}/debian\"\n");
    let locked = format!(
        "kind = \"packages\"\n[[qemu.index]]\nmirror = \"{address}/debian\"\nsuite = \"trixie\"\n\
         date = \"2026-11-01T00:00:00Z\"\nsha256 = \"sha256:{}\"\n",
        "1".repeat(64)
    );
    needs::lock(folder.path(), &base, &locked);
    let bare: &[&str] = &[];
    // As root, and as another user.
    let isolated = [&["unshare", "-n"][..], &["unshare", "-rn"]]
        .into_iter()
        .find(|unshare| {
            let tried = Command::new(unshare[0])
                .args(&unshare[1..])
                .arg("true")
                .output();
            tried.is_ok_and(|output| output.status.success())
        });
    if isolated.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
        let () = eprintln!("SKIPPED: `unshare -n` is not allowed; only connections are counted");
    }
    let commands: [&[&str]; 5] = [
        &["validate"],
        &["validate", "--json"],
        &["plan", "web"],
        &["plan", "web", "--json"],
        &["man", "pages"],
    ];
    for arguments in commands {
        for before in [Some(bare), isolated].into_iter().flatten() {
            let words = [before, &[crate::VAULT_BAKE], arguments].concat();
            let output = Command::new(words[0])
                .args(&words[1..])
                .current_dir(folder.path())
                .env_clear()
                .env("HOME", folder.path())
                .env("PATH", "/usr/bin:/bin")
                .envs(proxies(&address))
                .output()
                .unwrap();
            let text = format_run(folder.path(), &output);
            assert_eq!(output.status.code(), Some(0), "{words:?}: {text}");
            assert!(listener.accept().is_err(), "{words:?} connected");
        }
    }
}

/// By the base directory specification: absolute paths count, others do not.
#[tokio::test]
async fn default_folders_are_those_of_the_user() {
    let folder = project();
    recorded(folder.path()).await;
    let at = |name: &str| folder.path().join(name);
    fs::rename(at(".local/share"), at("data")).unwrap();
    let run = |arguments: &[&str], value: &dyn Fn(&str) -> PathBuf| {
        let output = Command::new(crate::VAULT_BAKE)
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", at("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_CACHE_HOME", value("cache"))
            .env("XDG_CONFIG_HOME", value("config"))
            .env("XDG_DATA_HOME", value("data"))
            .output()
            .unwrap();
        (output.status.code(), format_run(folder.path(), &output))
    };
    let (status, text) = run(&["validate"], &at);
    assert_eq!(status, Some(0), "{text}");
    assert!(at("cache/vault-bake/provisioners").is_dir());
    let (status, text) = run(&["trust", "key"], &at);
    assert_eq!(status, Some(0), "{text}");
    assert!(at("config/vault-bake/signing-key.pem").is_file());
    let (status, text) = run(&["images"], &at);
    assert!(status == Some(0) && text.contains("1.0.2"), "{text}");
    assert!(!at("home").exists());

    let relative = |name: &str| PathBuf::from(name);
    let (status, text) = run(&["trust", "key"], &relative);
    assert_eq!(status, Some(0), "{text}");
    assert!(at("home/.config/vault-bake/signing-key.pem").is_file());
    let (_, text) = run(&["validate"], &relative);
    assert!(at("home/.cache/vault-bake/provisioners").is_dir(), "{text}");
    let (_, text) = run(&["images"], &relative);
    assert!(!text.contains("1.0.2"), "{text}");
}
