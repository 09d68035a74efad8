//! `rollout` with containers of the shipped images, while nodes crash, hang, are cut off, or lack
//! what they need.

use std::cell::Cell;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::rollouts::{Rollout, RolloutImages, arguments};
use super::running::{TestCluster, set_link, signal};
use crate::project::{TestProject, output_text};

/// The limit for what must happen next, on a computer that is busy with the nodes.
const SOON: Duration = Duration::from_secs(60);

/// A controller that works, and the events that it printed so far.
struct Controller {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    printed: String,
}

impl Controller {
    fn begin(project: &TestProject, arguments: &[&str]) -> Self {
        let mut command = project.command(arguments, &[]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self {
            child,
            lines,
            printed: String::new(),
        }
    }

    /// Waits for an event that contains these words.
    async fn prints(&mut self, words: &[&str]) {
        loop {
            let line = self.lines.next_line().await.expect("a line");
            let line = line.unwrap_or_else(|| panic!("no event {words:?}: {}", self.printed));
            self.printed.push_str(&line);
            self.printed.push('\n');
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
        }
    }

    /// Waits until it begins a step.
    async fn begins(&mut self, step: &str) {
        self.prints(&[r#""event":"step-started""#, step]).await;
    }

    fn interrupt(&self) {
        signal(self.child.id().expect("it runs"), "INT");
    }

    /// Waits for its end. Returns its exit code, and all that it printed.
    async fn ends(mut self) -> (Option<i32>, String) {
        while let Some(line) = self.lines.next_line().await.expect("a line") {
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
        let mut errors = self.child.stderr.take().expect("its errors");
        let mut text = String::new();
        errors.read_to_string(&mut text).await.expect("text");
        let status = self.child.wait().await.expect("its end");
        (status.code(), self.printed + &text)
    }
}

/// A cluster, and rollouts of its Vault nodes or its servers.
struct Faults<'a> {
    project: &'a TestProject,
    cluster: &'a TestCluster<'a>,
    rollout: Rollout<'a>,
    /// The number of rollouts so far.
    begun: Cell<u64>,
}

impl Faults<'_> {
    fn start(&self, options: &[&str]) -> Controller {
        self.begun.set(self.begun.get() + 1);
        self.begin("start", &arguments(options))
    }

    fn begin(&self, verb: &str, options: &[&str]) -> Controller {
        let arguments = [&["rollout", verb, "dev", "--json"], options].concat();
        Controller::begin(self.project, &arguments)
    }

    /// Expects that a controller stopped with this exit code and these words, that the nodes from
    /// before serve, and that the node at fault is gone.
    async fn stopped(&self, controller: Controller, exit: i32, words: &[&str], gone: &str) {
        let (code, text) = controller.ends().await;
        assert_eq!(code, Some(exit), "{text}");
        for word in words {
            assert!(text.contains(word), "no `{word}`: {text}");
        }
        let roles = self.cluster.roles().await;
        let old = format!("dev-vault-{}-", self.begun.get());
        let serves = |(name, role): &&(String, String)| {
            name.starts_with(&old) && ["active", "standby"].contains(&role.as_str())
        };
        assert_eq!(roles.iter().filter(serves).count(), 3, "{roles:?}: {text}");
        let is_gone = roles.iter().all(|(name, _)| name != gone);
        assert!(is_gone, "{roles:?}: {text}");
        let client = self.cluster.client("after-a-fault").await;
        assert!(client, "clients are served");
    }

    /// Expects that the three Vault nodes after so many rollouts are there, and no others.
    async fn vault_is_of(&self, rollouts: u64) {
        let generation = rollouts + 1;
        let roles = self.cluster.roles().await;
        let vault = roles.iter().filter(|(name, _)| name.contains("-vault-"));
        let names: Vec<&str> = vault.map(|(name, _)| name.as_str()).collect();
        let expected = ["1", "2", "3"].map(|number| format!("dev-vault-{generation}-{number}"));
        assert_eq!(names, expected, "{roles:?}");
    }

    /// Expects that the rollout is completed by another controller, and returns its record.
    async fn completes(&self, felt: Felt) -> Value {
        let (exit, text) = self.rollout.run("resume", &[]).await;
        assert_eq!(exit, Some(0), "{text}");
        assert!(text.contains("rollout of cluster dev completed"), "{text}");
        self.recorded(felt).await
    }

    /// Expects that the last rollout was completed, and that its Vault nodes serve.
    async fn recorded(&self, felt: Felt) -> Value {
        let epoch = self.begun.get();
        self.vault_is_of(epoch).await;
        let client = self.cluster.client("completed").await;
        assert!(client, "clients are served");
        let name = format!("dev@{epoch}");
        let of_epoch = Rollout {
            project: self.project,
            cluster: &name,
        };
        let record = of_epoch.json("show").await["record"].clone();
        assert_eq!(record["outcome"], "completed", "{record}");
        assert_eq!(record["canary"]["lost"], 0, "{record}");
        if felt == Felt::Nothing {
            assert_eq!(record["canary"]["failed"], 0, "{record}");
        }
        record
    }
}

/// What clients may feel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Felt {
    /// Each request succeeds in time.
    Nothing,
    /// Requests may fail, as Vault's active node was killed.
    Failures,
}

/// Rolls out again and again, with another fault each time.
pub async fn check(project: &TestProject, cluster: &TestCluster<'_>, images: &RolloutImages) {
    let faults = Faults {
        project,
        cluster,
        rollout: Rollout {
            project,
            cluster: "dev",
        },
        begun: Cell::new(0),
    };
    let mut seen = Seen(Instant::now());
    new_nodes_that_never_serve(&faults, images, &mut seen).await;
    active_node_crashes(&faults, images, &mut seen).await;
    active_node_hangs(&faults, images, &mut seen).await;
    active_node_is_cut_off(&faults, images, &mut seen).await;
    servers_crash(&faults, images, &mut seen).await;
    let verified = project.run(&["verify"], &[]).await;
    let exit = verified.status.code();
    assert_eq!(exit, Some(0), "{}", output_text(&verified));
}

/// New nodes that die, that cannot reach Consul, and that cannot be unsealed: each time, the nodes
/// from before serve, and nothing of the new ones is left.
async fn new_nodes_that_never_serve(faults: &Faults<'_>, images: &RolloutImages, seen: &mut Seen) {
    let to = ["--to", &images.consul, "--to", &images.newer];
    let mut controller = faults.start(&to);
    controller.begins("start dev-vault-2-1").await;
    faults.cluster.starts("dev-vault-2-2", SOON).await;
    faults.cluster.crash("dev-vault-2-2");
    let words = ["dev-vault-2-2 does not run any more", "was undone"];
    faults.stopped(controller, 4, &words, "dev-vault-2-2").await;
    seen.fault("a new node died: undone");

    let mut controller = faults.begin("resume", &[]);
    controller.begins("start dev-vault-").await;
    let node = faults.cluster.starts("dev-vault-2-1", SOON).await;
    set_link(faults.cluster, &node, "down").await;
    let words = ["was undone", node.as_str()];
    faults.stopped(controller, 4, &words, &node).await;
    seen.fault("a new node was cut off: undone");

    let shares = faults.cluster.hide("secrets/vault-init");
    let controller = faults.begin("resume", &[]);
    let (exit, text) = controller.ends().await;
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("key shares are needed"), "{text}");
    let roles = faults.cluster.roles().await;
    let serves = |(_, role): &&(String, String)| ["active", "standby"].contains(&role.as_str());
    assert_eq!(roles.iter().filter(serves).count(), 3, "{roles:?}: {text}");
    shares.bring_back();
    seen.fault("no key shares: nothing retired");

    let mut controller = faults.begin("resume", &[]);
    controller.begins("unseal dev-vault-2-1").await;
    controller.interrupt();
    let (exit, text) = controller.ends().await;
    assert_eq!(exit, Some(130), "{text}");
    assert!(text.contains(r#""why":"interrupted""#), "{text}");
    seen.fault("Ctrl-C: the step ended, and the rollout rests");
    faults.completes(Felt::Nothing).await;
    seen.fault("resumed: completed, no request failed");
}

/// The active node is killed while the new standbys wait for the hand-over.
async fn active_node_crashes(faults: &Faults<'_>, images: &RolloutImages, seen: &mut Seen) {
    let to = ["--to", &images.consul, "--to", &images.last];
    let options = [&to[..], &["--stop-before-handover"]].concat();
    let (exit, text) = faults.start(&options).ends().await;
    assert_eq!(exit, Some(0), "{text}");
    let active = faults.cluster.node("active").await;
    faults.cluster.crash(&active);
    faults.completes(Felt::Failures).await;
    seen.fault("the active node was killed before the hand-over: planned again, completed");
}

/// The active node hangs, so its lock ends, and then does not stop in order.
async fn active_node_hangs(faults: &Faults<'_>, images: &RolloutImages, seen: &mut Seen) {
    let to = ["--to", &images.consul, "--to", &images.newer];
    let options = [&to[..], &["--stop-before-handover"]].concat();
    let (exit, text) = faults.start(&options).ends().await;
    assert_eq!(exit, Some(0), "{text}");
    let active = faults.cluster.node("active").await;
    let mut controller = faults.begin("resume", &[]);
    controller.begins("hand over from").await;
    faults.cluster.freeze_vault(&active).await;
    let (exit, text) = controller.ends().await;
    assert_eq!(exit, Some(0), "{text}");
    faults.recorded(Felt::Failures).await;
    seen.fault("the active node hung: completed");

    let to = ["--to", &images.consul, "--to", &images.last];
    let options = [&to[..], &["--stop-before-handover"]].concat();
    let (exit, text) = faults.start(&options).ends().await;
    assert_eq!(exit, Some(0), "{text}");
    let active = faults.cluster.node("active").await;
    faults.cluster.keep_vault_from_stopping(&active).await;
    let record = faults.completes(Felt::Failures).await;
    let steps = record["steps"].as_array().expect("steps");
    let hand_over = steps.iter().find(|step| step["step"] == "hand-over");
    let hand_over = hand_over.unwrap_or_else(|| panic!("no hand-over: {record}"));
    assert_eq!(hand_over["unclean"], true, "{record}");
    seen.fault("the active node did not stop in time: its unit was ended, recorded as unclean");
}

/// The network of the active node ends in the middle, and with it its lock.
async fn active_node_is_cut_off(faults: &Faults<'_>, images: &RolloutImages, seen: &mut Seen) {
    let to = ["--to", &images.consul, "--to", &images.newer];
    let mut controller = faults.start(&to);
    controller.begins("send clients to").await;
    let active = faults.cluster.node("active").await;
    set_link(faults.cluster, &active, "down").await;
    let (mut exit, mut text) = controller.ends().await;
    for _ in 0..5 {
        if exit == Some(0) {
            break;
        }
        assert!(matches!(exit, Some(1 | 4)), "{exit:?}: {text}");
        (exit, text) = faults.begin("resume", &[]).ends().await;
    }
    assert_eq!(exit, Some(0), "{text}");
    faults.recorded(Felt::Failures).await;
    seen.fault("the active node was cut off: another one took over, completed");
}

/// Consul's leader is killed while the new servers join, and an old server before it leaves.
async fn servers_crash(faults: &Faults<'_>, images: &RolloutImages, seen: &mut Seen) {
    let to = ["--to", &images.consul, "--to", &images.last];
    let options = [&to[..], &["--all-nodes"]].concat();
    let mut controller = faults.start(&options);
    controller.begins("start dev-consul-").await;
    let new = format!("dev-consul-{}-3", faults.begun.get() + 1);
    faults.cluster.starts(&new, SOON).await;
    let leader = faults.cluster.node("leader").await;
    faults.cluster.crash(&leader);
    let (exit, text) = controller.ends().await;
    assert!(matches!(exit, Some(1 | 4)), "{exit:?}: {text}");
    let roles = faults.cluster.roles().await;
    let votes = |(_, role): &&(String, String)| ["leader", "voter"].contains(&role.as_str());
    assert!(roles.iter().filter(votes).count() >= 2, "{roles:?}");
    faults.cluster.up().await;
    seen.fault("Consul's leader was killed while servers joined: nothing retired");

    let mut controller = faults.begin("resume", &[]);
    controller.begins("retire the server").await;
    let follower = faults.cluster.node("voter").await;
    faults.cluster.crash(&follower);
    let (exit, text) = controller.ends().await;
    assert!(matches!(exit, Some(0 | 1 | 4)), "{exit:?}: {text}");
    seen.fault(&format!(
        "a follower was killed while another left: exit {exit:?}"
    ));
    if exit != Some(0) {
        faults.cluster.up().await;
        faults.completes(Felt::Nothing).await;
    }
    let members = faults.cluster.members(&new).await;
    assert_eq!(members.len(), 6, "{members:?}");
    seen.fault("resumed: completed");
}

/// Prints each fault, what came of it, and how long it took.
struct Seen(Instant);

impl Seen {
    #[expect(clippy::print_stderr, reason = "a test prints what it saw")]
    fn fault(&mut self, text: &str) {
        eprintln!("{text} ({:.0} s)", self.0.elapsed().as_secs_f32());
        self.0 = Instant::now();
    }
}
