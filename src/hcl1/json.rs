//! Parses JSON in the two dialects of the products.

use super::parse::deeper;
use super::scan::Scanner;
use super::scan::literal::escape;
use super::{Element, Item, Key, Position, SyntaxError, Value};

/// A dialect of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonDialect {
    /// RFC 8259, as Go's `encoding/json` reads it.
    Strict,
    /// The dialect of HCL 1: trailing commas are allowed, and texts have Go's escapes.
    ///
    /// HCL 1 silently drops the rest after a missing comma or after the object. This is an error
    /// here.
    Hcl1,
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    dialect: JsonDialect,
}

type Read<T> = Result<T, SyntaxError>;

pub(super) fn parse(text: &str, dialect: JsonDialect) -> Read<Vec<Item>> {
    let scanner = Scanner::new(text)?;
    let mut reader = Reader { scanner, dialect };
    let at = reader.expect('{', "`{` of an object with the configuration's keys")?;
    let items = reader.object(at, 0)?;
    match reader.skip_blanks() {
        None => Ok(items),
        Some(_) => Err(reader.unexpected("the end of the file after the object")),
    }
}

impl Reader<'_> {
    fn skip_blanks(&mut self) -> Option<char> {
        while let Some(' ' | '\t' | '\n' | '\r') = self.scanner.peek() {
            self.scanner.next();
        }
        self.scanner.peek()
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.scanner.peek() {
            Some(found) => format!("{found:?}"),
            None => "the end of the file".to_owned(),
        };
        SyntaxError::new(
            self.scanner.at(),
            format!("expected {expected}, found {found}"),
        )
    }

    fn expect(&mut self, character: char, expected: &str) -> Read<Position> {
        if self.skip_blanks() != Some(character) {
            return Err(self.unexpected(expected));
        }
        let at = self.scanner.at();
        self.scanner.next();
        Ok(at)
    }

    /// Parses an object after its `{`.
    fn object(&mut self, opened: Position, depth: usize) -> Read<Vec<Item>> {
        let depth = deeper(opened, depth)?;
        let mut items = Vec::new();
        if self.skip_blanks() == Some('}') {
            self.scanner.next();
            return Ok(items);
        }
        loop {
            let at = self.expect('"', "a key in quotes")?;
            let name = self.text(at)?;
            self.expect(':', &format!("`:` after `{name}`"))?;
            items.push(Item {
                keys: vec![Key { name, at }],
                assigned: true,
                value: self.value(depth)?.value,
            });
            if self.is_end('}', &format!("`,` or the `}}` for line {}", opened.line))? {
                return Ok(items);
            }
        }
    }

    fn list(&mut self, opened: Position, depth: usize) -> Read<Vec<Element>> {
        let depth = deeper(opened, depth)?;
        let mut list = Vec::new();
        if self.skip_blanks() == Some(']') {
            self.scanner.next();
            return Ok(list);
        }
        loop {
            let element = self.value(depth)?;
            if self.dialect == JsonDialect::Hcl1
                && matches!(element.value, Value::Bool(_) | Value::List(_) | Value::Null)
            {
                let why = "HCL 1 has no `true`, `false`, `null` or list within a list of JSON";
                return Err(SyntaxError::new(element.at, why));
            }
            list.push(element);
            if self.is_end(']', &format!("`,` or the `]` for line {}", opened.line))? {
                return Ok(list);
            }
        }
    }

    /// Reads the comma or the end after an element.
    fn is_end(&mut self, end: char, expected: &str) -> Read<bool> {
        if self.skip_blanks() == Some(',') {
            self.scanner.next();
            if self.dialect == JsonDialect::Strict || self.skip_blanks() != Some(end) {
                return Ok(false);
            }
        }
        self.expect(end, expected).map(|_| true)
    }

    fn value(&mut self, depth: usize) -> Read<Element> {
        let first = self.skip_blanks();
        let at = self.scanner.at();
        let value = match first {
            Some('{') => {
                self.scanner.next();
                Value::Object(self.object(at, depth)?)
            }
            Some('[') => {
                self.scanner.next();
                Value::List(self.list(at, depth)?)
            }
            Some('"') => {
                self.scanner.next();
                Value::Text(self.text(at)?)
            }
            Some('a'..='z' | '-' | '0'..='9') => self.word(at)?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Element { at, value })
    }

    fn word(&mut self, at: Position) -> Read<Value> {
        let mut word = String::new();
        while let Some(c) = self.scanner.peek() {
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-')) {
                break;
            }
            word.extend(self.scanner.next());
        }
        match word.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "null" => return Ok(Value::Null),
            _ => {}
        }
        let number = match serde_json::from_str::<serde_json::Number>(&word) {
            Ok(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Some(Value::Integer(whole)),
                (None, fraction) => fraction.map(Value::Float),
            },
            Err(_) => None,
        };
        number.ok_or_else(|| SyntaxError::new(at, format!("expected a value, found `{word}`")))
    }

    /// Parses a text after its first quote.
    fn text(&mut self, at: Position) -> Read<String> {
        let mut bytes = Vec::new();
        loop {
            let here = self.scanner.at();
            match self.scanner.next() {
                Some('"') => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                None | Some('\n') => {
                    let why = "the text has no end: expected `\"` on the same line";
                    return Err(SyntaxError::new(at, why));
                }
                Some(c) if c < ' ' && self.dialect == JsonDialect::Strict => {
                    let why = format!("{c:?} in a text; expected an escape sequence");
                    return Err(SyntaxError::new(here, why));
                }
                Some('\\') => match self.dialect {
                    JsonDialect::Strict => self.strict_escape(here, &mut bytes)?,
                    JsonDialect::Hcl1 => match escape(&mut self.scanner, here)? {
                        (raw, _) if is_surrogate(&raw) => return Err(surrogate(here, &raw)),
                        (_, Some(decoded)) => bytes.extend(decoded),
                        (raw, None) => return Err(no_escape(here, &raw)),
                    },
                },
                Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn strict_escape(&mut self, at: Position, bytes: &mut Vec<u8>) -> Read<()> {
        let Some(kind) = self.scanner.next() else {
            return Err(no_escape(at, "\\"));
        };
        let plain = match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\\' | '"' | '/' => kind,
            'u' => return self.unit(at, bytes),
            other => return Err(no_escape(at, &format!("\\{other}"))),
        };
        bytes.extend(plain.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Parses four hexadecimal digits, and the second half of a surrogate pair. A half without its
    /// partner is replaced by U+FFFD.
    fn unit(&mut self, at: Position, bytes: &mut Vec<u8>) -> Read<()> {
        let mut units = vec![self.hex(at)?];
        while units.len() == 1 && (0xd800..0xdc00).contains(&units[0]) {
            let pending = self.scanner.peek() == Some('\\') && self.scanner.second() == Some('u');
            if !pending {
                break;
            }
            self.scanner.next();
            self.scanner.next();
            units.push(self.hex(at)?);
        }
        bytes.extend(String::from_utf16_lossy(&units).as_bytes());
        Ok(())
    }

    fn hex(&mut self, at: Position) -> Read<u16> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.scanner.peek().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| no_escape(at, "\\u"))?;
            self.scanner.next();
            number = number << 4 | digit;
        }
        Ok(u16::try_from(number).unwrap_or_default())
    }
}

fn no_escape(at: Position, found: &str) -> SyntaxError {
    SyntaxError::new(at, format!("`{found}` is no escape sequence here"))
}

/// Tells if an escape sequence is half of a UTF-16 surrogate pair.
fn is_surrogate(raw: &str) -> bool {
    let digits = raw.strip_prefix("\\u").or(raw.strip_prefix("\\U"));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number.is_some_and(|number| (0xd800..0xe000).contains(&number))
}

fn surrogate(at: Position, found: &str) -> SyntaxError {
    let why = format!(
        "`{found}` is half of a surrogate pair, which HCL 1 does not join, and since Go 1.18 it panics; expected the character itself"
    );
    SyntaxError::new(at, why)
}
