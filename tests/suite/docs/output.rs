//! Compares what a command printed with what a page says that it prints.
//!
//! `…` in a page is any text of a line, and alone on a line any lines.
//! Digests, times, sizes and public keys may differ, but one digest of a page is always the same digest of the output.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;

const TIME: &str = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z";
const SIZE: &str = r" *[0-9]+(?:\.[0-9]+)? (?:[KMG]iB|B)(?-u:\b)";
/// A public ed25519 key, in base64 of DER.
const KEY: &str = "MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=";

/// What differs from run to run: digests, times, sizes, public keys.
static VOLATILE: LazyLock<Regex> = LazyLock::new(|| {
    let digest = r"(?P<digest>(?-u:\b)[0-9a-f]{8,64}(?-u:\b))";
    let time = format!("(?P<time>{TIME})");
    let size = format!("(?P<size>{SIZE})");
    let key = format!("(?P<key>{KEY})");
    Regex::new(&format!("{time}|{size}|{key}|{digest}")).unwrap()
});

static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new("[0-9]+").unwrap());

/// Which numbers may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    Exact,
    Any,
}

/// The digests of a page, each with that of the output.
#[derive(Default)]
pub struct Digests(HashMap<String, String>);

/// Compares; the error names the first line of the page that the output does not have.
pub fn compare(
    documented: &[String],
    printed: &str,
    numbers: Numbers,
    digests: &mut Digests,
) -> Result<(), String> {
    let (pattern, named) = pattern(documented, numbers);
    let whole = Regex::new(&format!("^{pattern}$")).unwrap();
    let Some(captures) = whole.captures(printed) else {
        let fits = |count: &usize| {
            let (start, _) = self::pattern(&documented[..*count], numbers);
            Regex::new(&format!("^{start}")).unwrap().is_match(printed)
        };
        let count = (0..=documented.len()).rev().find(fits).unwrap_or_default();
        let line = documented.get(count);
        let line = line.map_or("the page has no further line", String::as_str);
        return Err(format!("line {} of the output differs: {line}", count + 1));
    };
    // The first group is no digest, but the whole text.
    for (name, found) in named.iter().zip(captures.iter().skip(1).flatten()) {
        let known = digests
            .0
            .entry(name.clone())
            .or_insert_with(|| found.as_str().to_owned());
        if known != found.as_str() {
            return Err(format!(
                "{name} is {} here, and {known} further up",
                found.as_str()
            ));
        }
    }
    Ok(())
}

/// The regular expression for lines of a page, and the digests that its groups are named after.
fn pattern(documented: &[String], numbers: Numbers) -> (String, Vec<String>) {
    let (mut pattern, mut named) = (String::new(), Vec::new());
    for line in documented {
        if line == "…" {
            pattern += r"(?:[^\n]*\n)*?";
            continue;
        }
        let mut rest = line.as_str();
        while let Some(found) = VOLATILE.captures(rest) {
            let place = found.get(0).unwrap();
            pattern += &literal(&rest[..place.start()], numbers);
            if let Some(digest) = found.name("digest") {
                // Its first digits stand for the digest everywhere.
                let digest = digest.as_str();
                let more = digest.len() - 8;
                let _ = write!(pattern, "([0-9a-f]{{8}})[0-9a-f]{{{more}}}");
                named.push(digest[..8].to_owned());
            } else if found.name("time").is_some() {
                pattern += TIME;
            } else if found.name("size").is_some() {
                pattern += SIZE;
            } else {
                pattern += KEY;
            }
            rest = &rest[place.end()..];
        }
        pattern += &literal(rest, numbers);
        pattern += r"\n";
    }
    (pattern, named)
}

/// The regular expression for text that does not differ.
fn literal(text: &str, numbers: Numbers) -> String {
    let text = regex::escape(text).replace('…', r"[^\n]*");
    if numbers == Numbers::Any {
        NUMBER.replace_all(&text, "[0-9]+").into_owned()
    } else {
        text
    }
}

#[test]
fn a_page_is_compared_line_by_line() {
    let page = [
        "moved to 3 (aaaa1111…)",
        "…",
        "took 12 MiB, 2026-11-29T02:45:20Z aaaa1111bbbb",
    ];
    let page = page.map(str::to_owned);
    let ok =
        "moved to 3 (0123456789ab)\nmore\nmore\ntook  1.5 GiB, 2027-01-01T00:00:00Z 012345678888\n";
    let check = |printed: &str, numbers| {
        let compared = compare(&page, printed, numbers, &mut Digests::default());
        compared.err().unwrap_or_default()
    };
    assert_eq!(check(ok, Numbers::Exact), "");
    let other = ok.replace("to 3", "to 4");
    assert_eq!(check(&other, Numbers::Any), "");
    assert!(check(&other, Numbers::Exact).starts_with("line 1 of the output differs: moved"));
    assert!(check(&ok.replace("took", "takes"), Numbers::Exact).starts_with("line 3 "));
    assert!(check(&format!("{ok}more\n"), Numbers::Exact).ends_with("no further line"));
    let two = ok.replace("012345678888", "ffffffff8888");
    assert!(check(&two, Numbers::Exact).starts_with("aaaa1111 is ffffffff here"));
}
