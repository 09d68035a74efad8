//! Builds by the binary that start and fail: QEMU is a script, and a server has another host key.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use testing::sshd::Sshd;
use vault_bake::digest::hex;
use vault_bake::ssh::Keys;

use super::*;
use crate::event::of_the_binary;

/// Records its folder and process, and stays. `hook` is an additional command.
const QEMU: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo 'QEMU emulator version 9.2.0'; exit; }
if [ -e 'LAB/hook' ]; then . 'LAB/hook'; fi
echo $$ >'LAB/pid'
pwd >'LAB/up.new' && mv 'LAB/up.new' 'LAB/up'
sleep 1000
exit 1
"#;

const QEMU_IMG: &str = r#"#!/bin/sh
case $1 in
info) echo '{"format": "raw", "virtual-size": 16777216}' ;;
create) for last; do file=$before before=$last; done; echo "an overlay" >"$file" ;;
esac
"#;

/// A project whose image starts from a file, and its fake programs.
struct Lab {
    folder: tempfile::TempDir,
    _stranger: Sshd,
}

impl Lab {
    fn new() -> Self {
        let folder = project();
        let at = folder.path().to_owned();
        let image = at.join("base.raw");
        fs::write(&image, "a base").unwrap();
        let base = format!(
            "kind = \"cloud-image\"\nurl = \"{}\"\nsha512 = \"{}\"\n",
            image.display(),
            hex(&Sha512::digest("a base"))
        );
        needs::lock(&at, &format!("[base.qemu]\n{base}"), &base);
        fs::create_dir(at.join("bin")).unwrap();
        let programs = [
            ("qemu-system-x86_64", QEMU),
            ("qemu-img", QEMU_IMG),
            ("mformat", "#!/bin/sh\n"),
            ("mcopy", "#!/bin/sh\n"),
        ];
        for (name, text) in programs {
            let path = at.join("bin").join(name);
            fs::write(&path, text.replace("LAB", &at.display().to_string())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let stranger = Sshd::start(&Keys::generate());
        let port = stranger.address.port();
        thread::spawn(move || serve(&at, port));
        Self {
            folder,
            _stranger: stranger,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self, name: &str) -> PathBuf {
        self.path(".cache/vault-bake").join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .stdin(Stdio::null());
        command
    }

    /// Returns exit status, standard output and standard error of a command.
    fn transcript(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(crate::VAULT_BAKE).args(arguments).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Returns the terminal output of a build that asks and gets `answer`. `None` without the
    /// program `script`.
    fn answered(&self, answer: &str) -> Option<(i32, String)> {
        let build = format!("{} build web --on-error ask", crate::VAULT_BAKE);
        let mut child = self
            .command("script")
            .args(["-qec", &build, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdout = child.stdout.take().unwrap();
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while !seen.contains("[y/N]") {
            match stdout.read(&mut buffer).unwrap() {
                0 => break,
                read => seen.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(answer.as_bytes()).unwrap();
        stdout.read_to_string(&mut seen).unwrap();
        let status = child.wait().unwrap();
        Some((status.code().unwrap(), seen))
    }

    /// Returns whether the last QEMU runs.
    fn runs(&self) -> bool {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        let arguments = fs::read(format!("/proc/{}/cmdline", pid.trim()));
        arguments.is_ok_and(|arguments| !arguments.is_empty())
    }

    /// Returns journals and work folders of runs.
    fn left(&self) -> usize {
        let entries = fs::read_dir(self.cache("runs")).unwrap().flatten();
        entries.filter(|entry| entry.file_name() != ".gate").count()
    }
}

/// Answers each QEMU that starts, until the folder of the test is removed.
fn serve(lab: &Path, port: u16) {
    while lab.exists() {
        let up = lab.join("up");
        let Ok(work) = fs::read_to_string(&up) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        fs::remove_file(&up).unwrap();
        let control = UnixListener::bind(Path::new(work.trim()).join("build.qmp")).unwrap();
        thread::spawn(move || {
            for connection in control.incoming().flatten() {
                // The client may close at any time.
                let _ = answer(connection, port);
            }
        });
    }
}

fn answer(mut stream: UnixStream, port: u16) -> io::Result<()> {
    stream.write_all(b"{\"QMP\": {}}\n")?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let answer = match asked["execute"].as_str() {
            Some("human-monitor-command") => {
                json!(format!(
                    "TCP[HOST_FORWARD]  12  127.0.0.1 {port}  10.0.2.15  22  0  0"
                ))
            }
            _ => json!({}),
        };
        writeln!(stream, "{}", json!({ "return": answer }))?;
    }
    Ok(())
}

#[test]
fn an_error_of_a_run_names_its_log_and_programs_get_the_documented_fields() {
    let lab = Lab::new();
    let (status, _, text) = lab.transcript(&["build", "web"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("host key"), "{text}");
    let log = text.lines().find_map(|line| line.strip_prefix("log: "));
    let log = Path::new(log.expect(&text));
    assert_eq!(log.parent(), Some(&*lab.cache("logs")));
    assert!(
        fs::read_to_string(log).unwrap().contains("\"run-started\""),
        "{text}"
    );
    assert!(!lab.runs() && lab.left() == 0);

    let (status, json, _) = lab.transcript(&["build", "web", "--json"]);
    assert_eq!(status, 1, "{json}");
    let lines = json.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let [.., failed, finished] = &lines[..] else {
        panic!("{json}");
    };
    assert_eq!(
        (&failed["event"], &failed["exit"]),
        (&json!("failed"), &json!(1))
    );
    let log = failed["log"].as_str().expect("a log");
    assert!(Path::new(log).is_file() && finished["log"] == log, "{json}");
    assert_eq!(finished["event"], "finished");
    assert!(finished["state"].is_null() && finished["manifest"].is_null());

    // A failed run has no list of problems.
    fs::write(lab.path("images/web/image.toml"), "schema = 2\n").unwrap();
    let (_, json, _) = lab.transcript(&["build", "web", "--json"]);
    let invalid: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let keys = |value: &Value| -> BTreeSet<String> {
        let keys = value.as_object().unwrap().keys().cloned();
        keys.filter(|key| key != "event").collect()
    };
    let [of_failed, mut of_finished] = of_the_binary();
    of_finished.remove("event");
    assert_eq!(keys(&invalid), of_failed);
    assert!(keys(failed).is_subset(&of_failed));
    assert_eq!(keys(finished), of_finished);
}

#[test]
fn leftovers_end_a_build_and_a_sweep_with_5_and_are_listed() {
    let lab = Lab::new();
    // The folder for deletion is then below a file.
    let hook = "mv ../../images ../../images.away; echo in the way >../../images\n";
    fs::write(lab.path("hook"), hook).unwrap();
    let restore = || {
        fs::remove_file(lab.cache("images")).unwrap();
        fs::rename(lab.cache("images.away"), lab.cache("images")).unwrap();
    };
    let (status, _, text) = lab.transcript(&["build", "web"]);
    assert_eq!(status, 5, "{text}");
    assert!(text.contains("host key"), "what failed is told too: {text}");
    let listed = |text: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.starts_with("leftover: ") && line.contains("/images/"))
    };
    assert!(listed(&text), "{text}");
    let (status, _, text) = lab.transcript(&["sweep"]);
    assert_eq!(status, 5, "{text}");
    assert!(listed(&text), "{text}");
    restore();
    let (status, _, text) = lab.transcript(&["sweep"]);
    assert_eq!(status, 0, "{text}");
    // The cache has the files, so nothing is fetched, and the run has no such folder.
    fs::remove_dir_all(lab.cache("images")).unwrap();

    let (status, json, _) = lab.transcript(&["build", "web", "--json"]);
    assert_eq!(status, 5, "{json}");
    let failed = json.lines().rev().nth(1).unwrap();
    let failed: Value = serde_json::from_str(failed).unwrap();
    let left = failed["leftovers"].as_array().unwrap();
    assert!(failed["exit"] == 5 && left.len() == 1, "{failed}");
    restore();
    assert_eq!(lab.transcript(&["sweep"]).0, 0);
    assert_eq!(lab.left(), 0);
}

#[test]
fn a_failed_build_asks_at_a_terminal_whether_its_machine_stays() {
    let lab = Lab::new();
    let (status, _, text) = lab.transcript(&["build", "web", "--on-error", "ask"]);
    assert_eq!(status, 1, "{text}");
    assert!(!text.contains("[y/N]"), "there is no terminal: {text}");
    assert!(!lab.runs() && lab.left() == 0);

    let Some((status, text)) = lab.answered("n\n") else {
        #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
        let () = eprintln!("SKIPPED: no `script` on this machine");
        return;
    };
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("[y/N]") && !text.contains("ssh -i"), "{text}");
    assert!(!lab.runs() && lab.left() == 0, "{text}");

    let (status, text) = lab.answered("y\n").unwrap();
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("[y/N]") && text.contains("ssh -i"), "{text}");
    assert!(lab.runs(), "{text}");
    let (status, _, text) = lab.transcript(&["sweep"]);
    assert_eq!(status, 0, "{text}");
    assert!(!lab.runs() && lab.left() == 0, "{text}");
}
