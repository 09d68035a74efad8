//! The configuration of the load balancer as text, and its client with canned answers.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use vault_bake::cluster::front::{
    Front, FrontConfig, FrontError, Listener, RunAs, Runtime, Server,
};

fn server(number: u8) -> Server {
    Server {
        name: format!("dev-vault-1-{number}"),
        address: SocketAddr::from(([10, 77, 0, 30 + number], 8200)),
    }
}

fn config() -> FrontConfig {
    let state = Path::new("/home/me/.local/state/vault-bake/clusters/dev-1f2e3d4c");
    FrontConfig::new(
        Listener::Address(SocketAddr::from(([127, 0, 0, 1], 8200))),
        (1..=3).map(server).collect(),
        state.join("secrets/ca.pem"),
        state.join("front/socket"),
    )
}

/// Text that is not as expected fails with both, as the reader of the page would see them.
#[test]
fn the_documented_configuration_is_what_is_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load-balancer.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page.split("```text\n").skip(1).collect();
    let documented = blocks.iter().find_map(|block| {
        let block = block.split("```").next()?;
        block.starts_with("# Written by").then_some(block)
    });
    assert_eq!(documented.unwrap(), config().haproxy().unwrap());
}

#[test]
fn all_options_of_a_configuration() {
    let mut config = config();
    config.listener = Listener::Inherited {
        fd: 7,
        address: SocketAddr::from(([127, 0, 0, 1], 8200)),
    };
    config.probe_interval = Duration::from_millis(1500);
    config.idle_timeout = Duration::from_secs(100 * 60);
    config.ca_file = "/srv/it's $HOME {bind}/ca.pem".into();
    config.events_file = Some("/srv/front/events".into());
    config.run_as = Some(RunAs {
        user: "nobody".to_owned(),
        group: "nogroup".to_owned(),
    });
    config.servers = vec![Server {
        name: "a_1.b".to_owned(),
        address: "[fd00::1]:8200".parse().unwrap(),
    }];
    insta::assert_snapshot!(config.haproxy().unwrap());
}

#[test]
fn what_the_syntax_cannot_express_is_refused() {
    let refused = |change: fn(&mut FrontConfig)| {
        let mut config = config();
        change(&mut config);
        let error = config.haproxy().unwrap_err();
        match error.hint() {
            Some(hint) => format!("{error}\n  hint: {hint}"),
            None => error.to_string(),
        }
    };
    let lines = [
        refused(|config| config.servers[0].name.clear()),
        refused(|config| config.servers[0].name = "a b".to_owned()),
        refused(|config| config.servers[0].name = "a\n    server b 192.0.2.1:1".to_owned()),
        refused(|config| config.servers[2].name = config.servers[0].name.clone()),
        refused(|config| config.ca_file = "/srv/a\nb".into()),
        refused(|config| config.ca_file = OsStr::from_bytes(b"/srv/\xff").into()),
        refused(|config| config.stats_socket = format!("/srv/{}", "x".repeat(93)).into()),
        refused(|config| config.stats_socket = "socket".into()),
        refused(|config| config.stats_socket = "/srv/$HOME/socket".into()),
        refused(|config| config.probe_interval = Duration::from_millis(499)),
        refused(|config| config.idle_timeout = Duration::from_secs(25 * 24 * 3600)),
        refused(|config| {
            config.run_as = Some(RunAs {
                user: "nobody".to_owned(),
                group: "no group".to_owned(),
            });
        }),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn clients_get_one_address_or_those_of_all_nodes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    let nodes = config.servers.clone();
    let one = Front::HaProxy(config.clone()).addresses();
    assert_eq!(one, ["127.0.0.1:8200".parse().unwrap()]);
    config.listener = Listener::inherit(&listener).unwrap();
    let inherited = Front::HaProxy(config).addresses();
    assert_eq!(inherited, [listener.local_addr().unwrap()]);
    let all: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    assert_eq!(Front::None(nodes).addresses(), all);
}

/// Answers each command with the next text, and checks the command.
async fn scripted(
    exchanges: &'static [(&'static str, &'static str)],
) -> (tempfile::TempDir, Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        for (command, answer) in exchanges {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = vec![0; command.len() + 1];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&line), format!("{command}\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (folder, Runtime::new(path))
}

const STATES: &str = "show servers state vault";
const STATISTICS: &str = "show stat vault 4 -1 json";

#[tokio::test]
async fn an_answer_in_another_form_is_an_error() {
    let table: [(&str, &str, &str); 4] = [
        ("2\n# srv_name srv_admin_state\n", "[]", "not version 1"),
        ("1\n# srv_name\n", "[]", "no column srv_admin_state"),
        (
            "1\n# srv_name srv_admin_state\na x\n",
            "[]",
            "a state is no number",
        ),
        ("1\n# srv_name srv_admin_state\n", "", "EOF"),
    ];
    for (states, statistics, reason) in table {
        let exchanges = Box::leak(Box::new([(STATES, states), (STATISTICS, statistics)]));
        let (_folder, runtime) = scripted(exchanges).await;
        let error = runtime.servers().await.unwrap_err();
        assert!(matches!(error, FrontError::Answer { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_refused_command_names_itself_and_a_missing_socket_has_a_way_out() {
    let (folder, runtime) =
        scripted(&[("set server vault/a state drain", "No such server.\n\n")]).await;
    let error = runtime.drain("a").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot run `set server vault/a state drain` in HAProxy: No such server."
    );
    let error = runtime.ready("a; shutdown").await.unwrap_err();
    assert!(matches!(error, FrontError::Config(_)), "{error}");
    let error = Runtime::new(folder.path().join("none"))
        .pid()
        .await
        .unwrap_err();
    assert!(matches!(error, FrontError::Unreachable { .. }), "{error}");
    assert!(error.hint().is_some());
}
