//! Parses tokens into items.

use super::scan::{Scanner, Token};
use super::{Element, Item, Key, MAX_DEPTH, Position, SyntaxError, Value};

const VALUE: &str = "a value: a quoted text, a number, `true`, `false`, a heredoc, `[` or `{`";

struct Parser<'a> {
    scanner: Scanner<'a>,
    /// Token that was read ahead.
    ahead: Option<(Position, Token)>,
}

type Parsed<T> = Result<T, SyntaxError>;

pub(super) fn parse(text: &str) -> Parsed<Vec<Item>> {
    let mut parser = Parser {
        scanner: Scanner::new(text)?,
        ahead: None,
    };
    parser.items(None, 0)
}

fn unexpected(at: Position, expected: &str, found: &Token) -> SyntaxError {
    SyntaxError::new(at, format!("expected {expected}, found {found}"))
}

impl Parser<'_> {
    fn token(&mut self) -> Parsed<(Position, Token)> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.scanner.token(),
        }
    }

    /// Parses the items of the file, or of an object whose `{` is at `opened`.
    fn items(&mut self, opened: Option<Position>, depth: usize) -> Parsed<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            let (at, token) = self.token()?;
            match (&token, opened) {
                (Token::Close, Some(_)) | (Token::End, None) => return Ok(items),
                (Token::End, Some(opened)) => {
                    let expected = format!("`}}`, which ends the block of line {}", opened.line);
                    return Err(unexpected(at, &expected, &token));
                }
                _ => self.ahead = Some((at, token)),
            }
            items.push(self.item(opened.is_some(), depth)?);
            // A comma may follow each item; a line break is not required.
            let next = self.token()?;
            if next.1 != Token::Comma {
                self.ahead = Some(next);
            }
        }
    }

    fn item(&mut self, inside: bool, depth: usize) -> Parsed<Item> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let (at, token) = self.token()?;
            let value = match (token, keys.len()) {
                (Token::Word(name) | Token::Text(name), _) => {
                    keys.push(Key { name, at });
                    continue;
                }
                (Token::Assign, 1) => (true, self.value(depth)?.value),
                (Token::Open, 1..) => (false, self.object(at, depth)?),
                (found @ Token::Assign, 2..) => {
                    return Err(unexpected(at, "`{` after a key with a label", &found));
                }
                (found, 0) => {
                    let expected = if inside { "a key or `}`" } else { "a key" };
                    return Err(unexpected(at, expected, &found));
                }
                (found, _) => {
                    let all: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
                    let expected = format!("`=` or `{{` after `{}`", all.join(" "));
                    return Err(unexpected(at, &expected, &found));
                }
            };
            let (assigned, value) = value;
            return Ok(Item {
                keys,
                assigned,
                value,
            });
        }
    }

    fn value(&mut self, depth: usize) -> Parsed<Element> {
        let (at, token) = self.token()?;
        let value = match token {
            Token::Bool(flag) => Value::Bool(flag),
            Token::Integer(number) => Value::Integer(number),
            Token::Float(number) => Value::Float(number),
            Token::Text(text) | Token::Heredoc(text) => Value::Text(text),
            Token::Open => self.object(at, depth)?,
            Token::OpenList => self.list(at, depth)?,
            found => return Err(unexpected(at, VALUE, &found)),
        };
        Ok(Element { at, value })
    }

    fn object(&mut self, at: Position, depth: usize) -> Parsed<Value> {
        let depth = deeper(at, depth)?;
        Ok(Value::Object(self.items(Some(at), depth)?))
    }

    fn list(&mut self, opened: Position, depth: usize) -> Parsed<Value> {
        let depth = deeper(opened, depth)?;
        let mut list: Vec<Element> = Vec::new();
        // HCL 1 does not require a comma after a list within a list.
        let mut comma_needed = false;
        loop {
            let (at, token) = self.token()?;
            match token {
                Token::CloseList => return Ok(Value::List(list)),
                Token::Comma => comma_needed = false,
                Token::End => {
                    let expected = format!("`]`, which ends the list of line {}", opened.line);
                    return Err(unexpected(at, &expected, &token));
                }
                found if comma_needed => return Err(unexpected(at, "`,` or `]`", &found)),
                found => {
                    self.ahead = Some((at, found));
                    let element = self.value(depth)?;
                    comma_needed = !matches!(element.value, Value::List(_));
                    list.push(element);
                }
            }
        }
    }
}

pub(super) fn deeper(at: Position, depth: usize) -> Parsed<usize> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(SyntaxError::new(
            at,
            format!("nested deeper than {MAX_DEPTH} levels"),
        ))
    }
}
