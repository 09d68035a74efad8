use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testing::network;
use testing::sshd::{Sshd, endpoint, free_port};
use vault_bake::event::Events;
use vault_bake::process::Program;
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{
    ConnectStage, ConnectionTimeouts, Connector, Keys, Session, SshError, join_all,
};
use vault_bake::wait::Interrupt;

use super::{SOON, connect, script};

fn impatient() -> ConnectionTimeouts {
    ConnectionTimeouts {
        banner: Duration::from_millis(200),
        login: Duration::from_secs(1),
        ..ConnectionTimeouts::default()
    }
}

async fn try_at(address: SocketAddr, keys: &Keys, timeout: Duration) -> Result<Session, SshError> {
    Connector::new(&endpoint(address), keys, Scrubber::default())
        .expect("keys of the right kind")
        .with_timeouts(impatient())
        .connect(
            timeout,
            async || None,
            &Events::silent(),
            &Interrupt::default(),
        )
        .await
}

/// Formats the error without parts that differ between runs.
fn words(error: &SshError, address: SocketAddr) -> String {
    let user = endpoint(address).user;
    error
        .to_string()
        .replace(&address.to_string(), "HOST")
        .replace(&format!("{user}@"), "")
}

#[tokio::test]
async fn each_stage_that_is_not_passed_is_named() {
    let refused = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let cases = [
        (refused, ConnectStage::Tcp, "connection refused"),
        (
            network::closing(),
            ConnectStage::Banner,
            "connected, but the connection closed before a banner",
        ),
        (
            network::silent(),
            ConnectStage::Banner,
            "connected, but received no banner within",
        ),
        (
            network::babbling(),
            ConnectStage::KeyExchange,
            "SSH-2.0-Babble: ",
        ),
    ];
    let keys = Keys::generate();
    for (address, expected, saying) in cases {
        let error = try_at(address, &keys, Duration::from_secs(2))
            .await
            .err()
            .unwrap();
        let SshError::NotUp { stage, last, .. } = &error else {
            panic!("{expected}: {error}");
        };
        assert_eq!(*stage, expected, "{error}");
        assert!(last.starts_with(saying), "{expected}: {last}");
    }
}

#[tokio::test]
async fn a_timeout_says_where_and_what_was_seen_and_what_to_do() {
    let refused = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let error = try_at(refused, &Keys::generate(), Duration::from_millis(1200))
        .await
        .err()
        .unwrap();
    insta::assert_snapshot!(words(&error, refused), @"HOST did not answer on SSH within 1 s: failed at tcp connection; last seen: connection refused");
    insta::assert_snapshot!(error.hint().unwrap(), @"Look at the VM's console: it may not have started.");
}

#[tokio::test]
async fn a_wrong_host_key_fails_at_once_and_names_both() {
    let ours = Keys::generate();
    let mut theirs = Keys::generate();
    theirs.user_public.clone_from(&ours.user_public);
    let sshd = Sshd::start(&theirs);
    let began = Instant::now();
    let error = connect(&sshd, &ours, Scrubber::default())
        .await
        .err()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{error}");
    let SshError::HostKey {
        expected, found, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_ne!(expected, found);
    let normal = words(&error, sshd.address)
        .replace(expected, "EXPECTED")
        .replace(found, "FOUND");
    insta::assert_snapshot!(normal, @"HOST has the wrong host key: expected EXPECTED, found FOUND");
    insta::assert_snapshot!(error.hint().unwrap(), @"Check that no other machine has this address, and that the VM does not generate its host key.");
}

#[tokio::test]
async fn a_refused_key_is_tried_a_few_times_only() {
    let theirs = Keys::generate();
    let mut ours = Keys::generate();
    ours.host_public.clone_from(&theirs.host_public);
    let sshd = Sshd::start(&theirs);
    let error = connect(&sshd, &ours, Scrubber::default())
        .await
        .err()
        .unwrap();
    let SshError::Refused { tries, .. } = &error else {
        panic!("{error}");
    };
    assert!((3..20).contains(tries), "{error}");
    insta::assert_snapshot!(words(&error, sshd.address).replace(&tries.to_string(), "N"), @"HOST refused the run's SSH key N times");
    insta::assert_snapshot!(error.hint().unwrap(), @"Check that `authorized_keys` arrived in the VM, and that its SSH server lets root log in by key.");
}

#[tokio::test]
async fn a_server_that_comes_up_late_is_found() {
    let keys = Keys::generate();
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut looks = 0;
    let mut sshd = None;
    let died = async || {
        looks += 1;
        if looks == 3 {
            sshd = Some(Sshd::start_at(&keys, port));
        }
        None
    };
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let to = endpoint(address);
    let scrubber = Scrubber::default();
    let session = Session::connect(&to, &keys, SOON, died, scrubber, &events, &interrupt).await;
    let text = session.unwrap().output(script("echo up"), &interrupt).await;
    assert_eq!(text.unwrap(), "up\n");
}

#[tokio::test]
async fn a_machine_that_dies_ends_the_wait_at_once_even_during_a_try() {
    let began = Instant::now();
    let mut looks = 0;
    let died = async || {
        looks += 1;
        (looks > 2).then(|| "kernel panic".to_owned())
    };
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let (to, keys) = (endpoint(network::silent()), Keys::generate());
    let scrubber = Scrubber::default();
    let session = Session::connect(&to, &keys, SOON, died, scrubber, &events, &interrupt).await;
    let error = session.err().unwrap();
    assert!(
        matches!(&error, SshError::Died { words, .. } if words == "kernel panic"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn an_interrupt_ends_the_wait_at_once() {
    let interrupt = Interrupt::default();
    let (to, keys) = (endpoint(network::silent()), Keys::generate());
    let alive = async || None;
    let (scrubber, events) = (Scrubber::default(), Events::silent());
    let began = Instant::now();
    let waiting = Session::connect(&to, &keys, SOON, alive, scrubber, &events, &interrupt);
    let (session, ()) = tokio::join!(waiting, async { interrupt.raise() });
    assert!(matches!(session, Err(SshError::Interrupted(_))));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_key_of_another_kind_is_refused_before_anything_is_tried() {
    let mut keys = Keys::generate();
    keys.host_public = "ssh-rsa AAAA".to_owned();
    let to = endpoint(SocketAddr::from(([127, 0, 0, 1], 9)));
    let connector = Connector::new(&to, &keys, Scrubber::default());
    assert!(matches!(connector.err(), Some(SshError::Key(_))));
}

#[tokio::test]
#[ignore = "started by `a_process_can_end_after_all_of_its_sessions`, as a process of its own: it counts all sessions of a process"]
async fn a_process_with_one_session() {
    let keys = Keys::generate();
    let server = Sshd::start(&keys);
    let session = connect(&server, &keys, Scrubber::default())
        .await
        .expect("a session");
    assert!(!join_all(Duration::from_millis(20)), "it is still open");
    drop(session);
    assert!(join_all(SOON));
}

#[tokio::test]
async fn a_process_can_end_after_all_of_its_sessions() {
    let own = std::env::current_exe().expect("this test");
    let name = "ssh::connecting::a_process_with_one_session";
    let output = Program::new(own)
        .args(["--ignored", "--exact", name])
        .run(&Interrupt::default())
        .await
        .expect("it passes");
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("1 passed"), "{output}");
}
