//! Text from VMs, files and servers on a terminal.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

use std::fs;
use std::process::Command;

use proptest::prelude::*;
use vault_bake::terminal::{visible, visible_json, visible_line};

#[test]
fn what_a_terminal_obeys_is_shown_as_characters() {
    let table = [
        "plain text, ümlaut, 日本 and 👍",
        "a tab\tand a line\nend",
        "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[1;32mall checks passed\u{1b}[0m",
        "over\rwritten, back\u{8}space, \u{0} and \u{7f}",
        "\u{9b}31m, \u{90}, \u{9d}0;t\u{9c}, next line \u{85}",
        "admin\u{202e}txt.exe, \u{2066}isolated\u{2069}, \u{200f}mark, \u{61c}",
        "line\u{2028}paragraph\u{2029}",
    ]
    .map(|text| {
        let json = visible_json(&serde_json::Value::from(text).to_string()).into_owned();
        format!("{}\n  {}\n  {json}", visible(text), visible_line(text))
    });
    insta::assert_snapshot!(table.join("\n"));
}

proptest! {
    #[test]
    fn no_text_keeps_what_a_terminal_obeys_and_json_keeps_its_value(text in any::<String>()) {
        let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
        prop_assert!(!visible(&text).contains(obeyed));
        prop_assert!(!visible_line(&text).contains(char::is_control));
        let json = serde_json::Value::from(text.as_str());
        let printed = visible_json(&json.to_string()).into_owned();
        prop_assert!(!printed.contains(char::is_control));
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), json);
        if !text.contains(|c: char| c.is_control() || !c.is_ascii()) {
            prop_assert_eq!(visible(&text).into_owned(), text);
        }
    }
}

/// Names and content from outside, on every way to a terminal.
#[test]
fn what_others_write_reaches_no_terminal_raw() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7}b";
    let at = folder.path();
    fs::create_dir_all(at.join("images").join(bad)).unwrap();
    fs::write(
        at.join("images").join(bad).join("image.toml"),
        format!("schema = 1\n\"{}\" = 2\n", "k\\u001b[2J\u{9b}"),
    )
    .unwrap();
    fs::write(
        at.join(format!("{bad}.json")),
        format!("{{\"format_version\": \"{}\"}}", "9\\u001b[2J\u{9b}"),
    )
    .unwrap();
    fs::write(
        at.join(format!("{bad}.hcl")),
        format!("listener \"tcp\" {{ address = \"{bad}\" }}\n"),
    )
    .unwrap();
    fs::write(at.join("broken.hcl"), format!("a = {bad}\n")).unwrap();
    let plan = format!("{bad}.json");
    let hcl = format!("{bad}.hcl");
    for arguments in [
        &["validate"][..],
        &["validate", bad],
        &["check-plan", &plan],
        &["lint", "--vault", &hcl],
        &["lint", "--vault", "broken.hcl"],
        &["--store", bad, "images"],
        &["show", bad],
        &["--cache", "/dev/null", "build", bad],
        &["test", bad],
        &["verify", "--pins", bad],
        &["gc", "--apply", bad],
        &["resolve", "web", "--format", bad],
        &[bad],
    ] {
        for json in [false, true] {
            let output = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
                .args(json.then_some("--json"))
                .args(arguments)
                .current_dir(at)
                .env_clear()
                .env("HOME", at)
                .output()
                .unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).unwrap();
            let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(obeyed), "{arguments:?}: {text:?}");
            assert!(!text.is_empty(), "{arguments:?}");
        }
    }
}
