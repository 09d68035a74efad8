//! Makes text from machines, files and servers safe to print: what a terminal would obey is shown as characters instead.
//!
//! In: any text. Out: the same text, with control characters in caret notation (`^[` for escape) and invisible characters that
//! change the order or the lines of others by code point (`<U+202E>`). The binary calls this at the one place that writes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` as it may be printed. Line ends and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    replace(text, |c| !matches!(c, '\n' | '\t') && is_obeyed(c), caret)
}

/// `text` as it may be printed on one line.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    replace(text, is_obeyed, caret)
}

/// JSON text as it may be printed: the same value, but what JSON leaves as it is and a terminal obeys is escaped in its strings.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    // Outside of strings JSON has none of these.
    replace(
        json,
        |c| !matches!(c, '\n' | '\t' | '\r') && is_obeyed(c),
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
    obeyed: impl Fn(char) -> bool,
    shown: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.chars().any(&obeyed) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match obeyed(c) {
            true => shown(&mut clean, c),
            false => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// Control characters (C0, DEL, C1), and Unicode's separators and directional formatting: its "Trojan Source" characters.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As `cat -v` and terminals show it.
fn caret(into: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = match c {
        '\u{7f}' => write!(into, "^?"),
        '\0'..='\u{1f}' => write!(into, "^{}", char::from(c as u8 + b'@')),
        other => write!(into, "<U+{:04X}>", u32::from(other)),
    };
}
