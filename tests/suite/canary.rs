//! The canary against a Vault that misbehaves as a test tells it, and counts what it did.

mod fake;

use std::time::{Duration, Instant};

use vault_bake::event::Events;
use vault_bake::network::Network;
use vault_bake::product::Endpoint;
use vault_bake::rollout::canary::recorder::{Ended, Kind, Outcome, Recorder};
use vault_bake::rollout::canary::{CanaryOptions, MOUNT, Pace, setup};
use vault_bake::rollout::{Canary, CanaryNode, ErrorKind};
use vault_bake::secret::Secret;
use vault_bake::wait::{Interrupt, pause};

use crate::product::mock::{Authority, MockServer, NAME, answer};
use fake::{Fake, Fault};

const TOKEN: &str = "hvs.CAESIJq7Kz-2m4vXWcT9nQdE8rLpYbGfH1sU6oZx3kM0iA5w";

/// Two clients of each kind, each with 20 requests a second.
fn pace() -> Pace {
    Pace {
        clients: 2,
        interval: Duration::from_millis(50),
        deadline: Duration::from_secs(10),
        patient_try: Duration::from_secs(8),
        patient_pause: Duration::from_millis(20),
        default_pause: (Duration::from_millis(20), Duration::from_millis(30)),
    }
}

fn options(fake: &Fake, front: Option<Endpoint>, nodes: Vec<CanaryNode>) -> CanaryOptions {
    CanaryOptions {
        tls: fake.server.tls(),
        front,
        nodes,
        token: Secret::new(TOKEN),
        mount: MOUNT.to_owned(),
        prefix: "dev-1".to_owned(),
        pace: pace(),
    }
}

fn start(fake: &Fake, pace: Pace) -> Canary {
    let front = Some(fake.server.endpoint());
    Canary::start(CanaryOptions {
        pace,
        ..options(fake, front, Vec::new())
    })
    .unwrap()
}

/// A node that tells clients an address in a network which only its endpoint reaches.
fn node(fake: &Fake, host: u8) -> CanaryNode {
    CanaryNode {
        api_address: format!("https://10.77.0.{host}:8200"),
        endpoint: fake.server.endpoint(),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        sleep(5).await;
    }
}

async fn sleep(millis: u64) {
    let time = Duration::from_millis(millis);
    pause(time, &Interrupt::default()).await.unwrap();
}

async fn until_requests(canary: &Canary, more: u64) {
    let mark = canary.mark();
    until("requests end", || {
        canary.since(&mark).total().requests >= more
    })
    .await;
}

#[tokio::test]
async fn without_a_fault_the_figures_are_clean_and_no_key_is_left() {
    let fake = Fake::start();
    let canary = start(&fake, pace());
    until_requests(&canary, 40).await;
    canary.read_back().await;
    assert_eq!(canary.check(&fake.server.endpoint()).await, Ok(()));
    let keys = fake.keys();
    let figures = canary.stop().await;
    let total = figures.total();
    assert!(figures.is_clean(), "{figures:?}");
    assert_eq!((total.retried, figures.errors.iter().count()), (0, 0));
    // Each write has a key of its own, and is read back once for the count.
    assert_eq!(
        (total.checked, figures.unchecked, total.writes),
        (fake.written(), 0, fake.written())
    );
    assert!(keys > 5 && fake.keys() == 0, "{keys} {}", fake.keys());
    // One of five, and until the first is confirmed.
    let share = total.requests / 5;
    assert!(
        (share - 4..share + 10).contains(&total.writes),
        "{figures:?}"
    );
    for kind in [figures.patient, figures.default] {
        assert!(kind.requests >= 10 && kind.writes > 0, "{figures:?}");
        assert!(kind.times.p99() > Duration::ZERO && kind.slowest > Duration::ZERO);
    }
    // Half the clients keep their connection, the others open one for each request.
    let connections = fake.server.requests().len() as u64;
    assert!(
        connections > total.requests * 2 / 5 && connections < total.requests * 4 / 5,
        "{connections} connections for {} requests",
        total.requests
    );
    assert!(figures.rate() > 1.0 && figures.summary().requests == total.requests);
    let first = &fake.server.requests()[..];
    let renewed = |request: &String| request.starts_with("POST /v1/auth/token/renew-self ");
    assert!(first.iter().any(renewed), "the token is renewed");
}

/// The first try of each write fails, so exactly writes are retried, and nothing else.
#[tokio::test]
async fn each_first_error_is_a_retried_request_and_none_fails() {
    let fake = Fake::start();
    fake.set(|state| state.first_try_of_a_key = Some(Fault::Status(500, "storage is away")));
    let canary = start(&fake, pace());
    until_requests(&canary, 30).await;
    let figures = canary.stop().await;
    let total = figures.total();
    assert!(figures.is_clean(), "{figures:?}");
    assert_eq!(total.retried, total.writes);
    assert_eq!(figures.errors.of(ErrorKind::Server), total.writes);
    assert_eq!(total.checked, total.writes);
    assert_eq!(
        figures.errors.to_string(),
        format!("{} error of Vault", total.writes)
    );
}

/// Four writes never succeed, each in another way.
#[tokio::test]
async fn a_request_that_never_succeeds_is_failed_once() {
    let fake = Fake::start();
    fake.set(|state| {
        state.for_ever = vec![
            Fault::Hang,
            Fault::Close,
            Fault::Status(403, "permission denied"),
            Fault::Status(503, "Vault is sealed"),
        ];
    });
    let deadline = Duration::from_millis(1500);
    let pace = Pace {
        deadline,
        patient_pause: Duration::from_millis(100),
        ..pace()
    };
    let canary = start(&fake, pace);
    until("failed", || canary.figures().total().failed >= 4).await;
    until_requests(&canary, 10).await;
    let figures = canary.stop().await;
    let (total, errors) = (figures.total(), figures.errors);
    // On a machine that is too busy, others time out too.
    let late = errors.of(ErrorKind::TimedOut) - 1;
    assert!((4..=4 + late).contains(&total.failed), "{figures:?}");
    assert!((4..=4 + late).contains(&total.retried), "{figures:?}");
    assert_eq!((total.lost, total.stale), (0, 0));
    assert!(total.checked <= total.writes - 4 && total.checked + 4 + late >= total.writes);
    assert!(total.slowest >= deadline, "{figures:?}");
    // A refusal is final, so it is tried once. A hanging server takes all the time of a request.
    assert_eq!(errors.of(ErrorKind::Denied), 1);
    for (kind, fault) in [(ErrorKind::Reset, 1), (ErrorKind::Sealed, 3)] {
        // An answer that came too late was a time-out for the client.
        let (seen, sent) = (errors.of(kind), fake.faults(fault));
        assert!(
            (sent.saturating_sub(late)..=sent).contains(&seen),
            "{kind}: {seen} of {sent}"
        );
        assert!(seen >= 3, "{errors}");
    }
    assert_eq!(errors.iter().count(), 4, "{errors}");
    assert!(!errors.to_string().contains("127.0.0.1"), "{errors}");
}

#[tokio::test]
async fn a_confirmed_write_without_its_value_is_lost() {
    let fake = Fake::start();
    let canary = start(&fake, pace());
    until_requests(&canary, 10).await;
    let mark = canary.mark();
    fake.set(|state| (state.lose, state.falsify) = (2, 1));
    until("three writes are lost", || {
        fake.set(|state| state.lose + state.falsify == 0)
    })
    .await;
    // All are known at the end of a step, as soon as the clients know that they were confirmed.
    let began = Instant::now();
    while canary.since(&mark).total().lost < 3 && began.elapsed() < Duration::from_secs(30) {
        canary.read_back().await;
        sleep(20).await;
    }
    let lost = canary.since(&mark).total().lost;
    until_requests(&canary, 10).await;
    let figures = canary.stop().await;
    let total = figures.total();
    assert_eq!((lost, total.lost, total.failed), (3, 3, 0));
    assert_eq!(total.checked, total.writes - 3);
    assert!(!figures.is_clean());
    // A client that reads such a key before sees it too: as many as the server answered so, but for
    // the reads that found the loss.
    assert_eq!(total.stale, fake.set(|state| state.wrong_reads) - 3);
    assert_eq!(figures.summary().failed, total.stale);
}

/// Confirmed, read back, and gone later.
#[tokio::test]
async fn a_write_that_is_gone_after_it_was_read_back_is_lost() {
    let fake = Fake::start();
    let canary = start(&fake, pace());
    until_requests(&canary, 10).await;
    canary.read_back().await;
    let checked = canary.figures().total().checked;
    let gone = fake.set(|state| {
        let first = state.store.keys().next().unwrap().clone();
        state.store.remove(&first).is_some()
    });
    canary.read_back().await;
    let figures = canary.stop().await;
    assert!(checked > 0 && gone);
    assert_eq!(figures.total().lost, 1, "{figures:?}");
}

#[tokio::test]
async fn a_gap_is_the_time_without_success_and_counts_in_each_interval_that_it_touches() {
    let fake = Fake::start();
    let canary = start(&fake, pace());
    until_requests(&canary, 10).await;
    let before = canary.mark();
    let began = Instant::now();
    fake.set(|state| state.all = Some(Fault::Status(500, fake::NO_ACTIVE)));
    sleep(300).await;
    let (lasting, middle) = (canary.since(&before), canary.mark());
    sleep(300).await;
    let outage = began.elapsed();
    fake.set(|state| state.all = None);
    until("all clients succeed again", || {
        let figures = canary.since(&middle);
        [figures.patient, figures.default].map(|kind| kind.requests - kind.failed >= 2) == [true; 2]
    })
    .await;
    let interval = canary.since(&middle);
    let figures = canary.stop().await;
    for kind in [interval.patient, interval.default, figures.patient] {
        assert!(kind.longest_gap + SLACK >= outage, "{kind:?} {outage:?}");
        assert!(kind.longest_gap <= figures.duration, "{figures:?}");
    }
    // It counts before it has ended.
    assert!(lasting.patient.longest_gap + SLACK >= Duration::from_millis(300));
    // Patient clients waited; default ones gave up after three tries. Nothing was written twice.
    assert_eq!(figures.patient.failed, 0);
    assert!(figures.default.failed > 0, "{figures:?}");
    assert_eq!(figures.total().lost, 0);
    assert_eq!(figures.errors.of(ErrorKind::NoActive), fake.faults(0));
    // Each client has one try at a time, however long the outage.
    assert!(
        fake.set(|state| state.most_at_once) <= 5,
        "4 clients and the upkeep"
    );
}

/// The time that a busy machine may need between an answer and its count.
const SLACK: Duration = Duration::from_millis(120);

/// Moments that a test chooses, so the lengths are exact.
#[test]
fn a_gap_begins_with_the_last_success_or_the_first_request_after_it() {
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let ended = |began: u64, result: Outcome| Ended {
        began: at(began),
        is_write: false,
        had_error: false,
        result,
    };
    let gaps = |recorder: &Recorder, from: u64, now: u64| {
        let figures = recorder.since(&recorder.mark(at(from)), at(now));
        let gaps = [figures.patient, figures.default].map(|kind| kind.longest_gap.as_millis());
        (gaps[0], gaps[1])
    };
    let mut recorder = Recorder::new(start);
    // Alone: the time of its answer. The idle time before is none.
    recorder.begin(Kind::Patient, at(100));
    recorder.end(Kind::Patient, &ended(100, Outcome::Succeeded), at(110));
    assert_eq!(gaps(&recorder, 0, 500), (10, 0));
    // Two wait: the first answer ends a gap, and begins the next.
    recorder.begin(Kind::Patient, at(600));
    recorder.begin(Kind::Patient, at(650));
    recorder.end(Kind::Patient, &ended(600, Outcome::Succeeded), at(700));
    recorder.end(Kind::Patient, &ended(650, Outcome::Succeeded), at(740));
    assert_eq!(gaps(&recorder, 0, 800), (100, 0));
    assert_eq!(gaps(&recorder, 710, 800), (40, 0));
    // Neither a failure nor an old value ends a gap, and between two requests it lasts.
    recorder.begin(Kind::Default, at(1000));
    recorder.end(Kind::Default, &ended(1000, Outcome::Failed), at(1200));
    assert_eq!(gaps(&recorder, 1100, 1300), (0, 300));
    recorder.begin(Kind::Default, at(1400));
    recorder.end(Kind::Default, &ended(1400, Outcome::Stale), at(1500));
    recorder.begin(Kind::Default, at(1600));
    recorder.end(Kind::Default, &ended(1600, Outcome::Succeeded), at(1750));
    // It began before this interval, and after this one there is none.
    assert_eq!(gaps(&recorder, 1740, 2000), (0, 750));
    assert_eq!(gaps(&recorder, 1751, 2000), (0, 0));
    let figures = recorder.figures(at(2000));
    assert_eq!(figures.duration, Duration::from_secs(2));
    assert_eq!(
        (
            figures.default.requests,
            figures.default.failed,
            figures.default.stale
        ),
        (3, 1, 1)
    );
    assert_eq!(figures.default.slowest, Duration::from_millis(200));
    assert_eq!(figures.summary().longest_gap_ms, 750);
    // No request follows, so time does not pass any more.
    recorder.begin(Kind::Patient, at(2000));
    recorder.close(at(2100));
    assert_eq!(
        recorder.figures(at(9000)).patient.longest_gap.as_millis(),
        100
    );
    assert_eq!(recorder.figures(at(9000)).duration.as_millis(), 2100);
}

#[tokio::test]
async fn time_without_a_request_is_no_gap_and_a_slow_answer_lowers_the_rate() {
    let fake = Fake::start();
    let interval = Duration::from_secs(1);
    let canary = start(
        &fake,
        Pace {
            clients: 1,
            interval,
            ..pace()
        },
    );
    until_requests(&canary, 3).await;
    let figures = canary.stop().await;
    assert!(figures.duration >= interval, "{figures:?}");
    assert!(figures.total().longest_gap < interval, "{figures:?}");

    let slow = Duration::from_millis(200);
    fake.set(|state| state.all = Some(Fault::Slow(slow)));
    let canary = start(&fake, pace());
    until_requests(&canary, 4).await;
    let figures = canary.figures();
    drop(canary);
    // Two clients of each kind with one request in 200 ms each, instead of 20 in a second.
    assert!(figures.rate() <= 4.0 / slow.as_secs_f64(), "{figures:?}");
    assert_eq!((figures.total().failed, figures.total().retried), (0, 0));
    assert!(figures.total().times.p99() >= slow);
}

#[tokio::test]
async fn a_redirect_is_followed_to_a_node_of_the_cluster_alone() {
    let authority = Authority::new();
    let [standby, active, foreign] = [(); 3].map(|()| Fake::of(&authority));
    let front = Some(standby.server.endpoint());
    let to = |address: String| {
        standby.set(|state| state.all = Some(Fault::Redirect(address)));
    };
    to("https://10.77.0.32:8200".to_owned());
    let nodes = vec![node(&standby, 31), node(&active, 32)];
    let canary = Canary::start(options(&standby, front, nodes)).unwrap();
    until_requests(&canary, 20).await;
    let followed = canary.figures();
    let total = followed.total();
    assert_eq!((total.failed, total.retried), (0, total.requests));
    assert!(followed.errors.of(ErrorKind::Redirect) >= total.requests);
    assert_eq!(followed.errors.iter().count(), 1, "{}", followed.errors);

    // A host that is no node, and a node without TLS.
    let mark = canary.mark();
    to(format!("https://{}", foreign.server.address));
    until("default clients fail", || {
        canary.since(&mark).default.failed >= 2
    })
    .await;
    to("http://10.77.0.32:8200".to_owned());
    let asked = active.written();
    until_requests(&canary, 2).await;
    let written = active.written();
    standby.set(|state| state.all = None);
    drop(canary);
    assert_eq!(foreign.server.requests().len(), 0);
    assert!(written <= asked + 1, "one may have been on its way");
}

#[tokio::test]
async fn without_a_load_balancer_nodes_are_used_in_turn_and_can_be_replaced() {
    let authority = Authority::new();
    let [old, new, other] = [(); 3].map(|()| Fake::of(&authority));
    old.share_with(&new);
    old.share_with(&other);
    let nodes = vec![node(&old, 31), node(&other, 32)];
    let canary = Canary::start(options(&old, None, nodes)).unwrap();
    until_requests(&canary, 20).await;
    let [first, second] = [&old, &other].map(Fake::handled);
    canary.set_nodes(vec![node(&new, 33)]).unwrap();
    until_requests(&canary, 8).await;
    let before = old.handled() + other.handled();
    until_requests(&canary, 12).await;
    let after = old.handled() + other.handled();
    canary.set_nodes(Vec::new()).unwrap();
    until("no node is an error", || {
        canary.figures().errors.of(ErrorKind::NoNode) > 0
    })
    .await;
    canary.set_nodes(vec![node(&new, 33)]).unwrap();
    let figures = canary.stop().await;
    assert!(first > 4 && second > 4, "{first} {second}");
    assert_eq!(before, after, "no request goes to a node that has left");
    assert!(new.handled() > 12);
    assert_eq!(figures.total().lost, 0);
    assert_eq!(figures.patient.failed, 0);
}

#[tokio::test]
async fn a_check_names_the_way_that_fails() {
    let (fake, node) = (Fake::start(), Fake::start());
    let canary = start(&fake, pace());
    // Another authority than the one that the canary trusts.
    let error = canary.check(&node.server.endpoint()).await.unwrap_err();
    assert!(error.contains(&node.server.address.to_string()), "{error}");
    let refusing = Endpoint {
        address: testing::network::closing(),
        server_name: NAME.to_owned(),
        network: Network::host(),
    };
    let error = canary.check(&refusing).await.unwrap_err();
    assert!(error.contains(&refusing.address.to_string()), "{error}");
    fake.set(|state| state.lose = u64::MAX);
    let error = canary.check(&fake.server.endpoint()).await.unwrap_err();
    assert_eq!(
        error,
        "through the load balancer: Vault does not return the value that was written"
    );
    assert!(!error.contains(TOKEN));
}

#[tokio::test]
async fn options_without_a_trusted_authority_are_refused() {
    let fake = Fake::start();
    let mut options = options(&fake, Some(fake.server.endpoint()), Vec::new());
    options.tls.ca_pem = "no certificate".to_owned();
    let error = Canary::start(options).err().unwrap();
    assert!(
        error.to_string().starts_with("cannot prepare a client: "),
        "{error}"
    );
}

/// A new engine refuses the first read, as Vault's does.
#[tokio::test]
async fn the_token_has_the_rights_of_the_canary_and_no_others() {
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let server = MockServer::start(move |request, to| {
        let (status, body) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["GET", "/v1/sys/mounts"] => (200, r#"{"data": {}}"#),
            ["POST", "/v1/auth/token/create-orphan"] => {
                (200, r#"{"auth": {"client_token": "hvs.canary"}}"#)
            }
            ["GET", "/v1/vault-bake-canary/data/ready"] => {
                let first = reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
                let upgrading =
                    r#"{"errors": ["Upgrading from non-versioned to versioned data."]}"#;
                if first {
                    (400, upgrading)
                } else {
                    (404, r#"{"errors": []}"#)
                }
            }
            _ => (204, ""),
        };
        answer(to, status, &[], body);
    });
    let (admin, interrupt) = (Secret::new(TOKEN), Interrupt::default());
    let token = setup(&server.vault(), &admin, &Events::silent(), &interrupt).await;
    assert_eq!(token.unwrap().expose(), "hvs.canary");
    let requests: Vec<String> = server
        .requests()
        .iter()
        .map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            format!("{line} {}", body.replace("\\n", "\n    "))
                .trim_end()
                .to_owned()
        })
        .collect();
    insta::assert_snapshot!(requests.join("\n"), @r##"
    GET /v1/sys/mounts
    POST /v1/sys/mounts/vault-bake-canary {"options":{"version":"2"},"type":"kv"}
    PUT /v1/sys/policies/acl/vault-bake-canary {"policy":"# Written by vault-bake.
        path \"vault-bake-canary/data/*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\"] }
        path \"vault-bake-canary/metadata/*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\"] }
        path \"sys/ha-status\" { capabilities = [\"read\"] }
        "}
    POST /v1/auth/token/create-orphan {"display_name":"vault-bake-canary","period":"86400s","policies":["vault-bake-canary"]}
    GET /v1/vault-bake-canary/data/ready
    GET /v1/vault-bake-canary/data/ready
    "##);
}
