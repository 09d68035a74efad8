//! The commands with which a team of three signs together: each person has a key of their own.

use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;
use serde_json::Value;
use testing::recorded_store::{bake, with};
use testing::signing::{key, key_pem, signer};
use vault_bake::store::{Dir, Store};
use vault_bake::wait::Interrupt;

use super::channels::assert_session;
use super::*;

const STORE: &str = ".local/share/vault-bake/store";

/// A folder with the keys `a.pem`, `b.pem` and `c.pem`, their public halves `a.pub`, …, and the key
/// of a stranger, `x.pem`.
fn keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, n) in [("a", 1), ("b", 2), ("c", 3), ("x", 9)] {
        let path = folder.path().join(format!("{name}.pem"));
        fs::write(&path, key_pem(n)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let public = key(n).public().to_pem();
        fs::write(folder.path().join(format!("{name}.pub")), public).unwrap();
    }
    folder
}

/// The commands of a session and their output, with names for the keys.
struct Session {
    folder: tempfile::TempDir,
    text: String,
}

impl Session {
    fn new() -> Self {
        Self {
            folder: keys(),
            text: String::new(),
        }
    }

    /// Makes a store in which two of three keys sign, with two tested images.
    async fn of_team() -> Self {
        let mut session = Self::new();
        session.by("a", &TEAM);
        session.images().await;
        session
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn images(&self) {
        let store = Store::open(Dir::new(self.path().join(STORE))).await;
        let store = store
            .unwrap()
            .with_signers(vec![signer(1)], Interrupt::default());
        for version in ["1.0.0", "1.0.1"] {
            bake(&store, &with(version, "1.21.0", "1.8.7")).await;
        }
    }

    /// Runs a command with the key of a person. Returns the exit status and standard output.
    fn by(&mut self, who: &str, arguments: &[&str]) -> (i32, String) {
        let file = format!("{who}.pem");
        let all = [arguments, &["--signing-key", &file]].concat();
        let output = run(self.path(), &all);
        let shown = arguments.join(" ");
        let printed = format_run(self.path(), &output);
        self.text += &[who, "$ vault-bake ", &shown, "\n", &printed, "\n"].concat();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    }

    /// Proposes something. Returns the first digits of its digest.
    fn propose(&mut self, who: &str, arguments: &[&str]) -> String {
        let (code, text) = self.by(who, &[arguments, &["--propose"]].concat());
        assert_eq!(code, 0, "{}", self.text);
        let (_, rest) = text.split_once("proposal sha256:").unwrap();
        rest[..12].to_owned()
    }

    fn assert_snapshot(&self, name: &str) {
        let names = [("A", 1), ("B", 2), ("C", 3), ("X", 9)];
        let text = names
            .into_iter()
            .fold(self.text.clone(), |text, (name, n)| {
                text.replace(&key(n).public().id().to_string(), &format!("KEY-{name}"))
            });
        assert_session(name, &text);
    }
}

const TEAM: [&str; 10] = [
    "store",
    "init",
    "--key",
    "a.pub",
    "--key",
    "b.pub",
    "--key",
    "c.pub",
    "--threshold",
    "2",
];

#[tokio::test]
async fn two_of_three_promote_revoke_and_change_the_policy() {
    let mut team = Session::of_team().await;
    let promotion = ["promote", "quickstart@1.0.0", "prod"];
    assert_eq!(team.by("a", &promotion).0, 6);
    let moved = team.propose("a", &promotion);
    assert_eq!(team.by("b", &["proposals"]).0, 0);
    assert_eq!(team.by("a", &["complete", &moved]).0, 6);
    assert_eq!(team.by("x", &["sign", &moved]).0, 6);
    assert_eq!(team.by("b", &["sign", &moved, "--dry-run"]).0, 0);
    assert_eq!(team.by("b", &["sign", &moved]).0, 0);
    assert_eq!(team.by("b", &["channel", "list"]).0, 0);
    let back = team.propose("c", &["promote", "quickstart@1.0.1", "prod"]);
    team.by("a", &["sign", &back]);
    let back = ["rollback", "quickstart:prod", "--reason", "too slow"];
    let back = team.propose("b", &back);
    team.by("c", &["sign", &back]);

    let revocation = ["revoke", "quickstart@1.0.1", "--reason", "CVE-2026-1"];
    let revoked = team.propose("b", &revocation);
    team.by("c", &["sign", &revoked]);
    let (_, listed) = team.by("a", &["revoke", "--list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let entry = listed["seq"].to_string();
    let restored = ["restore", &entry, "--reason", "a mistake"];
    let restored = team.propose("c", &restored);
    team.by("a", &["sign", &restored]);

    let added = ["trust", "add", "x.pub", "--role", "promoter"];
    assert_eq!(team.by("a", &added).0, 6);
    let added = team.propose("a", &added);
    team.by("b", &["sign", &added]);
    let removed = team.propose("b", &["trust", "remove", "x.pub", "--role", "promoter"]);
    team.by("c", &["sign", &removed]);
    assert_eq!(team.by("a", &["proposals"]).0, 0);
    assert_eq!(team.by("a", &["verify"]).0, 0);
    team.assert_snapshot("team");
}

#[tokio::test]
async fn a_threshold_above_one_locks_no_team_out() {
    let mut team = Session::new();
    team.by("a", &["store", "init"]);
    team.images().await;
    team.by("a", &["trust", "add", "b.pub", "--role", "root"]);
    team.by("a", &["trust", "add", "b.pub", "--role", "promoter"]);
    team.by("a", &["trust", "threshold", "promoter", "2"]);
    // It takes the signatures that it requires: a key that nobody has cannot be required.
    assert_eq!(team.by("a", &["trust", "threshold", "root", "2"]).0, 6);
    let raised = team.propose("a", &["trust", "threshold", "root", "2"]);
    assert_eq!(team.by("b", &["sign", &raised]).0, 0);
    // From here no key can do anything alone, and both together can undo it.
    for refused in [
        &["trust", "threshold", "root", "1"][..],
        &["trust", "remove", "b.pub", "--role", "root"],
        &["trust", "threshold", "root", "3", "--propose"],
        &["trust", "threshold", "root", "0", "--propose"],
        &["trust", "threshold", "builder", "2", "--propose"],
        &[
            "trust",
            "threshold",
            "keeper",
            "1",
            "--propose",
            "--image",
            "x",
        ],
        &["trust", "add", "absent.pub", "--role", "root", "--propose"],
        &["trust", "add", "b.pub", "--role", "root", "--propose"],
        &["trust", "remove", "x.pub", "--role", "root", "--propose"],
    ] {
        assert_ne!(team.by("a", refused).0, 0, "{}", team.text);
    }
    let lowered = team.propose("b", &["trust", "threshold", "root", "1"]);
    assert_eq!(team.by("a", &["sign", &lowered]).0, 0);
    let lowered = ["trust", "threshold", "promoter", "1"];
    assert_eq!(team.by("b", &lowered).0, 0);
    let promotion = ["promote", "quickstart@1.0.0", "prod"];
    assert_eq!(team.by("b", &promotion).0, 0);
    // An added root cannot sign before it is in the policy.
    team.propose("b", &["trust", "add", "x.pub", "--role", "root"]);
    // A lost key is replaced while another root is left.
    let removed = ["trust", "remove", "a.pub", "--role", "root"];
    assert_eq!(team.by("b", &removed).0, 0);
    team.assert_snapshot("team_threshold");
}

#[tokio::test]
async fn a_proposal_is_signed_without_the_store_and_completed_with_it() {
    let mut team = Session::of_team().await;
    let (_, policy) = team.by("a", &["trust", "show"]);
    fs::write(team.path().join("trust.json"), &policy).unwrap();
    team.text.clear();
    let moved = team.propose("a", &["promote", "quickstart@1.0.0", "prod"]);
    team.by("a", &["proposals", &moved, "--to", "proposal.json"]);
    assert_eq!(
        team.by("a", &["proposals", &moved, "--to", "proposal.json"])
            .0,
        6
    );
    fs::rename(team.path().join(STORE), team.path().join("away")).unwrap();
    let sign = ["sign", "proposal.json", "--trust", "trust.json"];
    assert_eq!(team.by("b", &["sign", "proposal.json"]).0, 2);
    assert_eq!(team.by("x", &sign).0, 6);
    assert_eq!(team.by("b", &[&sign[..], &["--dry-run"]].concat()).0, 0);
    assert_eq!(team.by("b", &sign).0, 0);
    fs::rename(team.path().join("away"), team.path().join(STORE)).unwrap();
    assert_eq!(team.by("c", &["complete", &moved]).0, 6);
    assert_eq!(
        team.by("c", &["complete", "proposal.json", "--dry-run"]).0,
        0
    );
    assert_eq!(team.by("c", &["complete", "proposal.json"]).0, 0);
    assert_eq!(team.by("c", &["complete", "proposal.json"]).0, 0);
    assert_eq!(team.by("c", &["sign", &moved]).0, 0);
    assert_eq!(team.by("c", &["channel", "list"]).0, 0);

    // An altered file is refused, byte by byte.
    let file = team.path().join("proposal.json");
    let bytes = fs::read(&file).unwrap();
    team.assert_snapshot("team_file");
    for at in (0..bytes.len()).step_by(29) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&file, flipped).unwrap();
        let (code, _) = team.by("c", &sign);
        assert!([2, 6, 7].contains(&code), "byte {at}: {}", team.text);
    }
}

/// The person who signed last was killed before the event was in the log.
#[tokio::test]
async fn what_was_signed_by_enough_and_not_completed_is_completed_later() {
    let mut team = Session::of_team().await;
    team.text.clear();
    let moved = team.propose("a", &["promote", "quickstart@1.0.0", "prod"]);
    let store = Store::open(Dir::new(team.path().join(STORE))).await;
    let store = store
        .unwrap()
        .with_signers(vec![signer(2)], Interrupt::default());
    let history = store.history().await.unwrap();
    let found = store.find_proposal(&history, &moved).await.unwrap();
    let now: Timestamp = "2026-11-22T19:30:00Z".parse().unwrap();
    store.sign_proposal(found.signed, now).await.unwrap();
    team.by("c", &["proposals"]);
    assert_eq!(team.by("x", &["complete", &moved]).0, 6);
    assert_eq!(team.by("c", &["complete", &moved, "--json"]).0, 0);
    assert_eq!(team.by("c", &["complete", &moved]).0, 0);
    team.by("c", &["proposals"]);
    team.by("c", &["proposals", "--all"]);
    team.by("c", &["proposals", "123456"]);
    team.by("c", &["channel", "log", "quickstart:prod"]);
    team.assert_snapshot("team_completed");
}

#[tokio::test]
async fn a_store_gets_its_policy_before_the_first_build() {
    let mut team = Session::new();
    let init = ["store", "init"];
    for refused in [
        &["--key", "a.pub", "--threshold", "2"][..],
        &["--key", "absent.pub"],
        &["--policy", "absent.json"],
        &["--key", "a.pub", "--policy", "policy.json"],
    ] {
        assert_ne!(team.by("a", &[&init[..], refused].concat()).0, 0);
    }
    assert!(!team.path().join(STORE).join("store.json").exists());
    assert_eq!(team.by("a", &TEAM).0, 0);
    assert_eq!(team.by("a", &init).0, 6);
    let (_, policy) = team.by("a", &["trust", "show"]);
    fs::write(team.path().join("policy.json"), &policy).unwrap();
    let other = [
        "store",
        "init",
        "--policy",
        "policy.json",
        "--store",
        "other",
    ];
    assert_eq!(team.by("x", &other).0, 0);
    team.by("x", &["trust", "show", "--store", "other", "--json"]);
    let builders = policy.replacen("\"threshold\": 1", "\"threshold\": 2", 1);
    fs::write(team.path().join("policy.json"), builders).unwrap();
    let third = [
        "store",
        "init",
        "--policy",
        "policy.json",
        "--store",
        "third",
    ];
    assert_eq!(team.by("x", &third).0, 6);
    team.assert_snapshot("team_init");
}
