//! Escapes characters that could control a terminal, in text from machines, files and servers.
//! Control characters become caret notation, as in `^[`.
//! Characters that change the order or the lines of text become code points, as in `<U+202E>`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Returns a number of things, as in `1 node` and `2 nodes`.
pub fn counted(count: impl fmt::Display, noun: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Escapes `text` for printing. Newlines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |c| !matches!(c, '\n' | '\t') && is_control(c),
        write_caret,
    )
}

/// Escapes `text` for printing on one line.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    replace(text, is_control, write_caret)
}

/// Removes control sequences and control characters from what a console shows, except line ends.
pub(crate) fn without_control(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    let keep = |c: char| match c {
        '\n' => Some(c),
        '\t' => Some(' '),
        c => (!c.is_control()).then_some(c),
    };
    plain.chars().filter_map(keep).collect()
}

/// Escapes JSON text for printing, with JSON escapes in its strings. The value stays the same.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    // JSON has such characters only in strings.
    replace(
        json,
        |c| !matches!(c, '\n' | '\t' | '\r') && is_control(c),
        |into, c| {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(into, "\\u{unit:04x}");
            }
        },
    )
}

fn replace(
    text: &str,
    must_escape: impl Fn(char) -> bool,
    write_escaped: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.chars().any(&must_escape) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must_escape(c) {
            write_escaped(&mut clean, c);
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// Whether `c` is a control character (C0, DEL, C1), or one of Unicode's separators and directional
/// formatting characters, which "Trojan Source" attacks use.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes `c` as `cat -v` does.
fn write_caret(into: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = match c {
        '\u{7f}' => write!(into, "^?"),
        '\0'..='\u{1f}' => write!(into, "^{}", char::from(c as u8 + b'@')),
        other => write!(into, "<U+{:04X}>", u32::from(other)),
    };
}
