use std::time::{Duration, Instant};

use testing::network::Proxy;
use testing::sshd::{Sshd, endpoint, free_port};
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::secret::{Scrubber, Secret};
use vault_bake::ssh::{ConnectionTimeouts, Connector, Keys, Reboot, Script, SshError};
use vault_bake::wait::Interrupt;

use super::{EventRecorder, SOON, eventually, script, session};

fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with(['Z', 'X'])
    })
}

#[tokio::test]
async fn output_comes_in_order_scrubbed_and_hashed() {
    let canary = Secret::new("correct-horse");
    let (_sshd, session) = session(Scrubber::new([&canary])).await;
    let recorder = EventRecorder::default();
    let text = "echo one\necho two >&2\necho 'a correct-horse'\nprintf '\\377\\n'\nread x || echo no input\n\
                head -c 100000 /dev/zero | tr '\\0' z; echo\nprintf 'no newline'; exit 7";
    let ended = session
        .run(script(text), &recorder.events(), &Interrupt::default())
        .await
        .unwrap();
    let lines = recorder.lines();
    let printed: Vec<&str> = lines
        .iter()
        .map(|line| &line[..line.len().min(20)])
        .collect();
    insta::assert_debug_snapshot!((ended.exit, printed), @r#"
    (
        7,
        [
            "one",
            "two",
            "a [secret]",
            "�",
            "no input",
            "zzzzzzzzzzzzzzzzzzzz",
            "no newline",
        ],
    )
    "#);
    assert_eq!(lines[5].len(), 16 * 1024 + " [cut]".len());
    assert_eq!(ended.last, lines);
    let log: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(ended.log_digest, Digest::hash_bytes(log));
}

#[tokio::test]
async fn exit_statuses_are_told_as_they_are() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    for (text, expected) in [
        ("true", 0),
        ("false", 1),
        ("exit 42", 42),
        ("set -e; false; exit 3", 1),
        ("sh -c 'kill -9 $$'", 137),
        ("if", 2),
        ("no-such-command-here", 127),
    ] {
        let ended = session
            .run(script(text), &events, &interrupt)
            .await
            .unwrap();
        assert_eq!(ended.exit, expected, "{text}: {:?}", ended.last);
    }
    let long = format!(": {}\nexit 5", "x".repeat(5_000_000));
    let ended = session
        .run(script(long), &events, &interrupt)
        .await
        .unwrap();
    assert_eq!(ended.exit, 5);
    let gone = session
        .run(script("kill -9 $PPID; sleep 1"), &events, &interrupt)
        .await;
    assert!(matches!(&gone, Err(SshError::Signalled { signal, .. }) if signal == "KILL"));
    let silent = session.run(script("exec true"), &events, &interrupt).await;
    assert!(matches!(silent, Err(SshError::NoStatus { .. })));
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_does_not_block_the_step() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let recorder = EventRecorder::default();
    let began = Instant::now();
    let text = "setsid sleep 30 & echo $!; exit 4";
    let ended = session
        .run(script(text), &recorder.events(), &Interrupt::default())
        .await;
    assert_eq!(ended.unwrap().exit, 4);
    assert!(began.elapsed() < Duration::from_secs(10));
    let pid = recorder.lines()[0].clone();
    assert!(runs(&pid));
    session
        .output(script(format!("kill {pid}")), &Interrupt::default())
        .await
        .unwrap();
}

/// A child in the script's group, one in its own group, and one that ignores SIGTERM.
const FAMILY: &str = "sleep 300 & echo pid $!\n\
                      timeout 300 sleep 299 & echo pid $!\n\
                      (trap '' TERM; echo pid $(sh -c 'echo $PPID'); while :; do sleep 1; done) &\n\
                      echo pid $$\necho ready\nwait";

fn family(recorder: &EventRecorder) -> Vec<String> {
    let lines = recorder.lines();
    let pids = lines.iter().filter_map(|line| line.strip_prefix("pid "));
    pids.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_timeout_ends_every_process_of_the_script() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let recorder = EventRecorder::default();
    let script = Script {
        timeout: Duration::from_secs(2),
        ..script(FAMILY)
    };
    let error = session
        .run(script, &recorder.events(), &Interrupt::default())
        .await
        .unwrap_err();
    let pids = family(&recorder);
    assert_eq!(pids.len(), 4, "{:?}", recorder.lines());
    assert!(!pids.iter().any(|pid| runs(pid)), "{error}");
    let first = error.to_string().lines().next().unwrap().to_owned();
    insta::assert_snapshot!(first, @"step did not end within 2 s and was killed: all its processes are gone after SIGKILL");
    let after = session
        .output(super::script("echo still here"), &Interrupt::default())
        .await;
    assert_eq!(after.unwrap(), "still here\n");
}

#[tokio::test]
async fn an_interrupt_ends_every_process_of_the_script() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let (recorder, interrupt) = (EventRecorder::default(), Interrupt::default());
    let events = recorder.events();
    let running = session.run(script(FAMILY), &events, &interrupt);
    let (ended, ()) = tokio::join!(running, async {
        assert!(eventually(|| recorder.lines().iter().any(|line| line == "ready")).await);
        interrupt.raise();
    });
    assert!(matches!(ended, Err(SshError::Interrupted(_))));
    assert!(!family(&recorder).iter().any(|pid| runs(pid)));
}

#[tokio::test]
async fn dropping_the_future_ends_the_script_and_the_thread() {
    let keys = Keys::generate();
    let sshd = Sshd::start(&keys);
    // The kernel keeps 15 bytes of a thread's name: the address without the port. No other test may
    // use it.
    let proxy = Proxy::from([127, 77, 0, 1], sshd.address);
    let (alive, silent) = (async || None, Events::silent());
    let session = Connector::new(&endpoint(proxy.address), &keys, Scrubber::default())
        .unwrap()
        .connect(SOON, alive, &silent, &Interrupt::default())
        .await
        .unwrap();
    let (recorder, interrupt) = (EventRecorder::default(), Interrupt::default());
    let events = recorder.events();
    tokio::select! {
        _ = session.run(script(FAMILY), &events, &interrupt) => panic!("it ended"),
        ready = eventually(|| recorder.lines().iter().any(|line| line == "ready")) => assert!(ready),
    }
    let thread = format!("ssh {}", session.endpoint().address);
    assert!(has_thread(&thread));
    drop(session);
    assert!(eventually(|| !family(&recorder).iter().any(|pid| runs(pid))).await);
    assert!(eventually(|| !has_thread(&thread)).await);
}

/// Returns whether this process has a thread of this name.
fn has_thread(name: &str) -> bool {
    let name = &name[..name.len().min(15)];
    let own = std::fs::read_dir("/proc/self/task")
        .expect("a proc file system")
        .flatten();
    let names = own.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.into_iter().any(|comm| comm.trim() == name)
}

#[tokio::test]
async fn nothing_of_a_script_is_in_any_argument_list() {
    let (_sshd, session) = session(Scrubber::default()).await;
    // Assembled at run time, so that the command line of the test does not contain it.
    let canary = format!("canary-{}-{}", std::process::id(), 4711);
    let text = format!(
        "export SECRET={canary}\nsleep 0.2 & for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p; echo; done 2>/dev/null\nwait"
    );
    let seen = session
        .output(script(text), &Interrupt::default())
        .await
        .unwrap();
    assert!(seen.contains("sh -s"), "{seen}");
    assert!(!seen.contains(&canary));
}

#[tokio::test]
async fn a_cut_connection_is_an_error_of_its_own() {
    let keys = Keys::generate();
    let sshd = Sshd::start(&keys);
    let proxy = Proxy::to(sshd.address);
    let (alive, recorder) = (async || None, EventRecorder::default());
    let (events, interrupt) = (recorder.events(), Interrupt::default());
    let connector = Connector::new(&endpoint(proxy.address), &keys, Scrubber::default()).unwrap();
    let session = connector
        .connect(SOON, alive, &events, &interrupt)
        .await
        .unwrap();
    let running = session.run(script("echo ready; sleep 5"), &events, &interrupt);
    let (ended, ()) = tokio::join!(running, async {
        assert!(eventually(|| !recorder.lines().is_empty()).await);
        proxy.cut();
    });
    let error = ended.unwrap_err();
    assert!(
        matches!(&error, SshError::Lost { what, .. } if what == "step"),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("step: connection lost: "),
        "{error}"
    );
    let after = session.run(script("true"), &events, &interrupt).await;
    assert!(matches!(after, Err(SshError::Lost { .. })));
}

#[tokio::test]
async fn a_killed_server_process_is_a_lost_connection_too() {
    let (sshd, session) = session(Scrubber::default()).await;
    let (recorder, interrupt) = (EventRecorder::default(), Interrupt::default());
    let events = recorder.events();
    let running = session.run(script("echo ready; sleep 5"), &events, &interrupt);
    let (ended, ()) = tokio::join!(running, async {
        assert!(eventually(|| !recorder.lines().is_empty()).await);
        sshd.drop_connections();
    });
    assert!(matches!(ended, Err(SshError::Lost { .. })));
}

#[tokio::test]
async fn a_peer_that_goes_quiet_is_not_waited_for_forever() {
    let keys = Keys::generate();
    let sshd = Sshd::start(&keys);
    let proxy = Proxy::to(sshd.address);
    let (alive, recorder) = (async || None, EventRecorder::default());
    let (events, interrupt) = (recorder.events(), Interrupt::default());
    let patience = ConnectionTimeouts {
        silence: Duration::from_secs(7),
        ..ConnectionTimeouts::default()
    };
    let connector = Connector::new(&endpoint(proxy.address), &keys, Scrubber::default()).unwrap();
    let connector = connector.with_timeouts(patience);
    let session = connector
        .connect(SOON, alive, &events, &interrupt)
        .await
        .unwrap();
    // A script that prints nothing for longer than the limit is no dead peer.
    let slow = session.run(script("sleep 8"), &events, &interrupt).await;
    assert_eq!(
        slow.map_err(|error| error.to_string())
            .map(|ended| ended.exit),
        Ok(0)
    );
    let running = session.run(script("echo ready; sleep 20"), &events, &interrupt);
    let (ended, ()) = tokio::join!(running, async {
        assert!(eventually(|| !recorder.lines().is_empty()).await);
        proxy.go_quiet();
    });
    let error = ended.unwrap_err();
    assert_eq!(
        error.to_string(),
        "step: connection lost: no data received for 7 s"
    );
}

#[tokio::test]
async fn output_is_bounded_and_fails_with_its_errors() {
    let (_sshd, session) = session(Scrubber::default()).await;
    let interrupt = Interrupt::default();
    let error = session
        .output(script("echo out; echo why >&2; exit 9"), &interrupt)
        .await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "step failed (exit 9)\n  | why"
    );
    let error = session
        .output(script("yes \"$(seq 40 | tr -d '\\n')\""), &interrupt)
        .await
        .unwrap_err();
    assert!(matches!(error, SshError::OutputTooLong { .. }), "{error}");
    let text = session.output(script("printf 'a\\nb'"), &interrupt).await;
    assert_eq!(text.unwrap(), "a\nb\n");
}

#[tokio::test]
async fn a_restart_is_seen_by_the_boot_id_and_by_nothing_else() {
    let keys = Keys::generate();
    let port = free_port();
    let mut sshd = Some(Sshd::start_at(&keys, port));
    let folder = tempfile::tempdir().unwrap();
    let boot_id = folder.path().join("boot_id");
    std::fs::write(&boot_id, "first\n").unwrap();
    let (alive, events, interrupt) = (async || None, Events::silent(), Interrupt::default());
    let to = endpoint(([127, 0, 0, 1], port).into());
    let connector = Connector::new(&to, &keys, Scrubber::default()).unwrap();
    let session = connector
        .connect(SOON, alive, &events, &interrupt)
        .await
        .unwrap();
    let reboot = Reboot {
        command: "true".to_owned(),
        boot_id: boot_id.display().to_string(),
        ..Reboot::default()
    };
    let old = session
        .reboot(&reboot, Duration::from_secs(2), alive, &events, &interrupt)
        .await;
    let error = old.err().unwrap();
    assert!(matches!(error, SshError::NotRebooted { .. }), "{error}");

    let session = connector
        .connect(SOON, alive, &events, &interrupt)
        .await
        .unwrap();
    let mut looks = 0;
    let going_down = async || {
        looks += 1;
        match looks {
            2 => drop(sshd.take()),
            5 => {
                std::fs::write(&boot_id, "second\n").unwrap();
                sshd = Some(Sshd::start_at(&keys, port));
            }
            _ => {}
        }
        None
    };
    let next = session
        .reboot(&reboot, SOON, going_down, &events, &interrupt)
        .await;
    let output = next.unwrap().output(script("echo back"), &interrupt).await;
    assert_eq!(output.unwrap(), "back\n");
}
