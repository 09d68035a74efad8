//! The parser of TAP, and values as a shell reads them.

use proptest::prelude::*;
use vault_bake::guest_steps::parse_tap;
use vault_bake::ssh::{export, quote};
use vault_bake::wait::Interrupt;

#[test]
fn tap_is_read_strictly() {
    let cases = [
        "TAP version 14\n1..1\nok 1 - a.b: words\n",
        "not ok 1 - a: words\n# why\n  # and why\n1..1",
        "ok 1 - a: words # SKIP no reason\n1..1",
        "",
        "1..0",
        "ok 1 - a: words",
        "1..2\nok 1 - a: words",
        "1..1\n1..1\nok 1 - a: words",
        "ok 1 - a: b\n1..2\nok 2 - b: c",
        "1..1\nok 2 - a: words",
        "1..1\nok a: words",
        "1..1\nok 1 - words without id",
        "1..1\nok 1 - A: words",
        "1..2\nok 1 - a: b\nok 2 - a: c",
        "1..1\nnot ok 1 - a: words # SKIP why",
        "stray\n1..1\nok 1 - a: words",
        "Bail out!",
        "1..x",
    ];
    let read: Vec<String> = cases
        .iter()
        .map(|text| match parse_tap(text) {
            Ok(tests) => format!(
                "{text:?}: {} {:?} {:?}",
                tests[0].ok, tests[0].skipped, tests[0].diagnostics
            ),
            Err(why) => format!("{text:?}: {why}"),
        })
        .collect();
    insta::assert_snapshot!(read.join("\n"), @r#"
    "TAP version 14\n1..1\nok 1 - a.b: words\n": true None []
    "not ok 1 - a: words\n# why\n  # and why\n1..1": false None ["why", "and why"]
    "ok 1 - a: words # SKIP no reason\n1..1": true Some("no reason") []
    "": it printed no plan `1..N`
    "1..0": its plan has 0 tests
    "ok 1 - a: words": it printed no plan `1..N`
    "1..2\nok 1 - a: words": its plan has 2 tests, but it printed 1
    "1..1\n1..1\nok 1 - a: words": it printed two plans
    "ok 1 - a: b\n1..2\nok 2 - b: c": its plan is neither before nor after all tests
    "1..1\nok 2 - a: words": expected the test number 1, found 2
    "1..1\nok a: words": `ok a: words` is not `ok 1 - <id>: <words>`
    "1..1\nok 1 - words without id": `ok 1 - words without id` is not `ok 1 - <id>: <words>`
    "1..1\nok 1 - A: words": `ok 1 - A: words` is not `ok 1 - <id>: <words>`
    "1..2\nok 1 - a: b\nok 2 - a: c": it printed two tests with the id `a`
    "1..1\nnot ok 1 - a: words # SKIP why": `not ok 1 - a: words # SKIP why` is both failed and skipped
    "stray\n1..1\nok 1 - a: words": `stray` is not `ok 1 - <id>: <words>`
    "Bail out!": `Bail out!` is not `ok 1 - <id>: <words>`
    "1..x": `1..x` is not a plan `1..N`
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_real_shell_reads_back_what_was_exported(value in "[^\\x00]{0,60}") {
        prop_assert_eq!(through_shell(&value), value);
    }
}

#[test]
fn nasty_values_survive_a_shell() {
    for value in [
        "'", "''", "\\'", "$(id)", "`id`", "a\nb\n", "-n", "\"", "\\", "!!", "\u{1}\t ", "ü'ü",
    ] {
        assert_eq!(through_shell(value), value);
    }
    assert!(export("1A", "").is_err() && export("A B", "").is_err() && export("", "").is_err());
    assert!(export("A", "\0").is_err());
    assert_eq!(quote("it's"), r"'it'\''s'");
}

/// Returns an exported value as `sh` reads it from standard input.
fn through_shell(value: &str) -> String {
    let text = format!(
        "{}printf %s \"$VALUE\"",
        export("VALUE", value).expect("a value without NUL")
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let shell = vault_bake::process::Program::new("sh")
        .arg("-s")
        .input(text);
    let printed = runtime
        .block_on(shell.run(&Interrupt::default()))
        .expect("sh runs");
    String::from_utf8(printed).expect("the text that went in")
}
