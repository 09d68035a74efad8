//! Differences as markdown: the content, and that no name or value can inject markup.

use serde_json::json;
use testing::sample::{EVIL, check, difference, digest, golden as sample, packages, release, step};
use vault_bake::manifest::Package;
use vault_bake::manifest::diff::diff;

#[test]
fn a_difference_in_markdown() {
    let a = sample("2026.1122.0", "disk");
    insta::assert_snapshot!(
        "markdown_same",
        diff(&a, &a, Some((&packages(), &packages()))).markdown()
    );
    let mut b = sample("2026.1122.1", "another disk");
    b.releases = vec![
        release("vault", "1.20.4", true),
        release("consul", "1.22.0", true),
    ];
    b.base.disk_sha256 = Some(digest("another base"));
    b.base.requested["suite"] = json!("trixie");
    b.os.kernel = "6.12.0-1-amd64".into();
    b.steps.reverse();
    b.steps.push(step("extra", "shell"));
    b.checks[1] = check("vault.tls-only", false);
    b.variables.insert("datacenter".into(), json!("dc2"));
    b.outputs[0].firmware = "uefi".into();
    b.outputs[0].file.as_mut().unwrap().size -= 5_000_000;
    let mut list = packages();
    list[0].version = "3.0.17-1~deb12u4".into();
    list[1].version = "5.2.15-2+b8".into();
    list[2].name = "zstd".into();
    insta::assert_snapshot!(
        "markdown",
        diff(&a, &b, Some((&packages(), &list))).markdown()
    );
    let missing = diff(&a, &b, None).markdown();
    assert!(
        missing.contains("packages not compared, a list is missing"),
        "{missing}"
    );
}

fn many(count: usize, version: &str) -> Vec<Package> {
    let package = |at| Package {
        name: format!("lib{at:02}"),
        arch: "amd64".into(),
        version: version.into(),
        source: "lib".into(),
    };
    (0..count).map(package).collect()
}

#[test]
fn long_tables_are_folded_and_long_sentences_end() {
    let (a, b) = (sample("1.0.0", "disk"), sample("1.0.1", "disk"));
    let with = |count| diff(&a, &b, Some((&many(count, "2"), &many(count, "1")))).markdown();
    assert!(!with(20).contains("<details>"));
    let folded = with(21);
    assert!(
        folded.contains("\n<details><summary>Packages: 21</summary>\n\n| |"),
        "{folded}"
    );
    assert!(folded.ends_with("|\n\n</details>\n"), "{folded}");
    let sentence = folded.lines().nth(2).unwrap();
    insta::assert_snapshot!(sentence, @"**21 downgrades:** `lib00`, `lib01`, `lib02`, `lib03`, `lib04`, `lib05`, `lib06`, `lib07`, `lib08`, `lib09`, …; packages: 21 down");
}

/// Returns the markdown without its code, as a renderer sees markup. Panics if code does not end.
fn outside_of_code(text: &str) -> String {
    let mut outside = String::new();
    let mut rest = text;
    loop {
        let span = rest.find('`');
        let element = rest.find("<code>");
        let (start, open, close) = match (span, element) {
            (Some(span), Some(element)) if element < span => (element, "<code>", "</code>"),
            (Some(span), _) => (span, "`", "`"),
            (None, Some(element)) => (element, "<code>", "</code>"),
            (None, None) => return outside + rest,
        };
        outside += &rest[..start];
        let inside = &rest[start + open.len()..];
        let end = inside.find(close).expect("code ends");
        let code = &inside[..end];
        assert!(!code.contains(['\n', '\r', '|']), "{code}");
        if open == "<code>" {
            let markup = |c: char| !(c.is_alphanumeric() || "&#;…".contains(c));
            assert!(!code.contains(markup), "{code}");
        }
        outside.push('¶');
        rest = &inside[end + close.len()..];
    }
}

#[test]
fn nothing_in_a_name_or_value_breaks_out_of_its_cell() {
    let harmless = outside_of_code(&difference("bash").markdown());
    let mut table = Vec::new();
    for evil in EVIL {
        let markdown = difference(evil).markdown();
        assert_eq!(outside_of_code(&markdown), harmless, "{evil:?}");
        assert_eq!(
            markdown.lines().count(),
            harmless.lines().count(),
            "{evil:?}"
        );
        let heading = markdown.lines().next().unwrap();
        let cell = heading
            .strip_prefix("### ")
            .unwrap()
            .split(" → ")
            .next()
            .unwrap();
        table.push(format!("{evil:?}\n    {cell}"));
    }
    insta::assert_snapshot!("markdown_cells", table.join("\n"));
    let long = difference(&"x".repeat(100_000)).markdown();
    assert!(long.len() < 10_000, "{}", long.len());
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_out_of_its_cell(evil: String, markup in "[`|\\\\<>&@\n a]{0,20}") {
        let harmless = outside_of_code(&difference("bash").markdown());
        for evil in [evil, markup] {
            let markdown = difference(&evil).markdown();
            proptest::prop_assert_eq!(outside_of_code(&markdown), harmless.as_str());
        }
    }
}
