//! Decodes numbers, quoted texts and heredocs.

use super::{Scanner, Token};
use crate::hcl1::{Position, SyntaxError};

/// Parses a number as Go does: `0x` starts hexadecimal digits, another `0` octal ones.
pub(super) fn number(text: &str) -> Result<Token, String> {
    let digits = text.trim_start_matches('-');
    let hex = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let sign = &text[..text.len() - digits.len()];
    if hex.is_none() && digits.contains(['.', 'e', 'E']) {
        // HCL 1 allows no exponent without digits before the point.
        let invalid = digits.starts_with('.') && digits.contains(['e', 'E']);
        return match text.parse::<f64>() {
            Ok(number) if number.is_finite() && !invalid => Ok(Token::Float(number)),
            _ => Err(format!("`{text}` is no number")),
        };
    }
    let number = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
        (None, Some(octal)) if !octal.is_empty() => {
            i64::from_str_radix(&format!("{sign}{octal}"), 8)
        }
        _ => text.parse(),
    };
    number.map(Token::Integer).map_err(|error| match digits {
        octal if octal.starts_with('0') && hex.is_none() => {
            format!("`{text}` is no number: a leading 0 makes it octal")
        }
        _ => format!("`{text}` is no number: {error}"),
    })
}

impl Scanner<'_> {
    /// Parses a text after its first quote. Between `${` and `}`, quotes and line ends belong to
    /// the text, and escapes are not decoded.
    pub(super) fn quoted(&mut self, at: Position) -> Result<String, SyntaxError> {
        let mut bytes = Vec::new();
        let mut braces = 0_usize;
        loop {
            let here = self.at();
            let next = match self.next() {
                None => None,
                Some('\n') if braces == 0 => None,
                some => some,
            };
            let Some(next) = next else {
                let why = match braces {
                    0 => "the text has no end: expected `\"` on the same line",
                    _ => "the text has no end: expected `}` of its `${`, and `\"`",
                };
                return Err(SyntaxError::new(at, why));
            };
            match next {
                '"' if braces == 0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                '$' if braces == 0 && self.peek() == Some('{') => {
                    self.next();
                    braces = 1;
                    bytes.extend(b"${");
                }
                '\\' => {
                    let (raw, decoded) = escape(self, here)?;
                    match braces {
                        0 => bytes.extend(decoded.ok_or_else(|| illegal(here, &raw))?),
                        _ => bytes.extend(raw.as_bytes()),
                    }
                }
                other => {
                    match other {
                        '{' if braces > 0 => braces += 1,
                        '}' if braces > 0 => braces -= 1,
                        '\u{fffd}' if braces > 0 => return Err(illegal(here, "\u{fffd}")),
                        _ => {}
                    }
                    bytes.extend(other.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }
}

fn illegal(at: Position, found: &str) -> SyntaxError {
    let why = format!("`{found}` is no escape sequence; expected `\\\\` for a backslash");
    SyntaxError::new(at, why)
}

/// Parses an escape sequence after its backslash. Returns its characters and the decoded bytes,
/// which are `None` beyond Unicode.
pub(in crate::hcl1) fn escape(
    scanner: &mut Scanner,
    at: Position,
) -> Result<(String, Option<Vec<u8>>), SyntaxError> {
    let mut raw = String::from('\\');
    let kind = scanner.next().ok_or_else(|| illegal(at, &raw))?;
    raw.push(kind);
    let plain = match kind {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        '"' => Some(b'"'),
        _ => None,
    };
    if let Some(byte) = plain {
        return Ok((raw, Some(vec![byte])));
    }
    let (radix, digits) = match kind {
        '0'..='7' => (8, 2),
        'x' => (16, 2),
        'u' => (16, 4),
        'U' => (16, 8),
        _ => return Err(illegal(at, &raw)),
    };
    let mut number = kind.to_digit(8).unwrap_or_default();
    for _ in 0..digits {
        let digit = scanner.peek().and_then(|c| c.to_digit(radix));
        let digit = digit.ok_or_else(|| illegal(at, &raw))?;
        raw.extend(scanner.next());
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    let decoded = match kind {
        'u' | 'U' if number > 0x10_FFFF => None,
        // Half of a surrogate pair is no character.
        'u' | 'U' => {
            let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
            Some(character.to_string().into_bytes())
        }
        _ => u8::try_from(number).ok().map(|byte| vec![byte]),
    };
    Ok((raw, decoded))
}

/// Tells if `line` ends the heredoc that began with `<<anchor`. With `-`, the line must have a
/// blank before the word.
pub(super) fn ends_heredoc(line: &str, anchor: &str) -> bool {
    let blanks = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];
    let word = anchor.strip_prefix('-').unwrap_or(anchor);
    let rest = line.trim_start_matches(blanks).strip_prefix(word);
    line.len() >= anchor.len() && rest.is_some_and(|rest| rest.chars().all(|c| c == '\r'))
}

/// Decodes a heredoc. `text` goes from the second `<` of its first line to the end of its last
/// line.
///
/// After `<<`, blanks before the last word belong to the content. After `<<-`, these blanks are
/// removed from every line, unless a line does not begin with them.
pub(super) fn heredoc(text: &str) -> String {
    let (first, body) = text.split_once('\n').unwrap_or((text, ""));
    let anchor = &first.as_bytes()[1..];
    // HCL 1 cuts off as many bytes as the word and the line end have, whatever they are.
    let without = |length: usize| &body.as_bytes()[..body.len().saturating_sub(length + 1)];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if anchor.first() != Some(&b'-') {
        return text(without(anchor.len()));
    }
    let content = text(without(anchor.len() - 1));
    let indent = content.rsplit('\n').next().unwrap_or_default();
    let mut lines: Vec<&str> = content.split('\n').collect();
    if lines.iter().all(|line| line.starts_with(indent)) {
        lines
            .iter_mut()
            .for_each(|line| *line = &line[indent.len()..]);
        return lines.join("\n");
    }
    let content = text(without(anchor.len()));
    content.trim_end_matches([' ', '\t']).to_owned()
}
