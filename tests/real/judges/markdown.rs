//! Markdown of differences, rendered as GitHub does.

use super::{python, run_validator};
use testing::sample::{EVIL, difference};

/// Renders every document of standard input, separated by NULs. Prints its tags in order, one line
/// each.
const VALIDATOR: &str = "
import sys
from html.parser import HTMLParser
import cmarkgfm
class Tags(HTMLParser):
    def __init__(self): super().__init__(); self.tags = []
    def handle_starttag(self, tag, attributes): self.tags.append(tag + ''.join(f'[{name}]' for name, _ in attributes))
    def handle_endtag(self, tag): self.tags.append('/' + tag)
    def handle_comment(self, text): self.tags.append('comment')
for document in sys.stdin.read().split(chr(0)):
    tags = Tags()
    tags.feed(cmarkgfm.github_flavored_markdown_to_html(document, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE))
    print(' '.join(tags.tags))
";

#[tokio::test]
async fn nothing_in_a_name_or_value_becomes_markup() {
    let Some(python) = python() else { return };
    let texts = ["bash"].iter().chain(EVIL);
    let documents: Vec<String> = texts.map(|text| difference(text).markdown()).collect();
    let output = run_validator(&python, VALIDATOR, documents.join("\0")).await;
    let output: Vec<&str> = output.lines().collect();
    assert_eq!(output.len(), EVIL.len() + 1);
    // Eight tables of one row with four cells.
    assert_eq!(output[0].matches(" td ").count(), 8 * 4, "{}", output[0]);
    for (evil, tags) in EVIL.iter().zip(&output[1..]) {
        assert_eq!(*tags, output[0], "{evil:?}");
    }
}

/// The validator works: text outside of code becomes markup.
#[tokio::test]
async fn the_renderer_would_show_what_breaks_out() {
    let Some(python) = python() else { return };
    let table = |cell: &str| format!("| a |\n|---|\n| {cell} |\n");
    let breaking = [
        "www.evil.example",
        "<b>x</b>",
        "`a|b`",
        "~~x~~",
        "<!-- x -->",
    ]
    .map(table);
    let plain = run_validator(&python, VALIDATOR, table("`x`")).await;
    for output in run_validator(&python, VALIDATOR, breaking.join("\0"))
        .await
        .lines()
    {
        assert_ne!(output, plain.trim_end());
    }
}
