//! An audit over `sshd`, by a fake Lynis that writes a report.

use std::fs;
use std::path::Path;

use vault_bake::guest_steps::{Lynis, audit};

use super::StepHarness;
use vault_bake::secret::Scrubber;

const REPORT: &str = r"cat >$report <<'END'
lynis_version=3.0.8
suggestion[]=SSH-7408|Consider hardening SSH configuration|Compression (set YES to NO)|-|
suggestion[]=BOOT-5122|Set a password on GRUB boot loader|-|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|MaxSessions (set 10 to 2)|-|
warning[]=KRNL-5830|Reboot of system is most likely needed||text:reboot|
hardening_index=86
END
exit 78
";

/// Returns the result of a fake Lynis, whose script has the path of the report in `$report`.
async fn audited(rest: &str) -> String {
    let (harness, session) = StepHarness::new(Vec::new(), Scrubber::default()).await;
    let lynis = fake_lynis(harness.folder.path(), rest);
    let audit = audit(
        &lynis,
        &session,
        &harness.work,
        &harness.events,
        &harness.interrupt,
    )
    .await;
    match audit {
        Ok(audit) => format!("{audit:?}"),
        Err(error) => error
            .to_string()
            .replace(&session.endpoint().to_string(), "ENDPOINT"),
    }
}

/// Makes a folder with the layout of Debian's package.
fn fake_lynis(folder: &Path, rest: &str) -> Lynis {
    let share = folder.join("share");
    fs::create_dir_all(share.join("include")).expect("a folder");
    fs::write(share.join("include/consts"), "INCLUDED=yes\n").expect("a file");
    let script = "[ \"$1 $2\" = 'audit system' ] && [ -f default.prf ] && [ -d plugins ] && . ./include/consts || exit 1\n\
                  while [ $# -gt 0 ]; do [ \"$1\" = --report-file ] && report=$2; shift; done\n";
    fs::write(folder.join("lynis"), format!("{script}{rest}")).expect("a script");
    fs::write(folder.join("default.prf"), "quick=yes\n").expect("a profile");
    Lynis {
        script: folder.join("lynis"),
        share,
        profile: folder.join("default.prf"),
    }
}

#[tokio::test]
async fn a_report_is_read_and_a_missing_one_is_an_error() {
    let results = [
        audited(REPORT).await,
        audited("echo 'no such shell' >&2; exit 1\n").await,
        audited("echo lynis_version=3.0.8 >$report\n").await,
        audited("printf 'lynis_version=3.0.8\\nhardening_index=many\\n' >$report\n").await,
    ];
    insta::assert_snapshot!(results.join("\n"), @r#"
Audit { version: "3.0.8", index: 86, warnings: ["KRNL-5830"], suggestions: ["BOOT-5122", "SSH-7408"] }
on ENDPOINT: step audit failed (exit 1)
  | no such shell
cannot parse the output of audit on ENDPOINT: `lynis_version=3.0.8`
cannot parse the output of audit on ENDPOINT: `lynis_version=3.0.8`
"#);
}

#[test]
fn what_is_missing_of_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let lynis = fake_lynis(folder.path(), "");
    assert_eq!(lynis.missing(), None);
    fs::remove_file(&lynis.profile).expect("it was there");
    assert_eq!(lynis.missing(), Some(lynis.profile.as_path()));
}
