//! Scans text into tokens.

pub(super) mod literal;

use std::fmt;

use super::{Position, SyntaxError};

/// A token of HCL 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    End,
    Word(String),
    Text(String),
    Heredoc(String),
    Bool(bool),
    Integer(i64),
    Float(f64),
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Assign,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => write!(f, "the end of the file"),
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Heredoc(_) => write!(f, "a heredoc"),
            Self::Bool(flag) => write!(f, "`{flag}`"),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Open => write!(f, "`{{`"),
            Self::Close => write!(f, "`}}`"),
            Self::OpenList => write!(f, "`[`"),
            Self::CloseList => write!(f, "`]`"),
            Self::Comma => write!(f, "`,`"),
            Self::Assign => write!(f, "`=`"),
        }
    }
}

/// A text and the read position in it.
pub(super) struct Scanner<'a> {
    rest: &'a str,
    at: Position,
}

type Scanned = Result<Token, SyntaxError>;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, SyntaxError> {
        // HCL 1 refuses these two anywhere, even in comments.
        if let Some(offset) = text.find(['\0', '\u{e123}']) {
            let at = Position::START.after(&text[..offset]);
            return Err(SyntaxError::new(at, "unexpected control character"));
        }
        if text.starts_with('\u{feff}') {
            let why = "the file starts with a byte order mark; expected UTF-8 without one";
            return Err(SyntaxError::new(Position::START, why));
        }
        let at = Position::START;
        Ok(Self { rest: text, at })
    }

    /// Returns the next token and its position.
    pub(super) fn token(&mut self) -> Result<(Position, Token), SyntaxError> {
        self.skip_blanks_and_comments()?;
        let at = self.at;
        Ok((at, self.scan(at)?))
    }

    fn scan(&mut self, at: Position) -> Scanned {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        if is_letter(first) {
            let word = self.take_while(|c| is_word(c) || c == '-' || c == '.');
            return Ok(match word {
                "true" => Token::Bool(true),
                "false" => Token::Bool(false),
                word => Token::Word(word.to_owned()),
            });
        }
        let digit_follows = self.second().is_some_and(|c| c.is_ascii_digit());
        if first.is_ascii_digit() || matches!(first, '-' | '.') && digit_follows {
            return literal::number(self.take_number(first))
                .map_err(|why| SyntaxError::new(at, why));
        }
        self.next();
        Ok(match first {
            '"' => Token::Text(self.quoted(at)?),
            '<' => Token::Heredoc(self.heredoc(at)?),
            '{' => Token::Open,
            '}' => Token::Close,
            '[' => Token::OpenList,
            ']' => Token::CloseList,
            ',' => Token::Comma,
            '=' => Token::Assign,
            other => {
                return Err(SyntaxError::new(
                    at,
                    format!("unexpected character {other:?}"),
                ));
            }
        })
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.advance(next.len_utf8());
        Some(next)
    }

    pub(super) fn at(&self) -> Position {
        self.at
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.at = self.at.after(taken);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if let Some(inside) = self.rest.strip_prefix("/*") {
                let end = inside.find("*/").ok_or_else(|| {
                    SyntaxError::new(self.at, "the comment has no end: expected `*/`")
                })?;
                self.advance(end + 4);
            } else if self.rest.starts_with('/') {
                return Err(SyntaxError::new(
                    self.at,
                    "expected `//` or `/*` of a comment, found `/`",
                ));
            } else {
                return Ok(());
            }
        }
    }

    /// Takes the characters of a number, which may still be invalid.
    fn take_number(&mut self, first: char) -> &'a str {
        let all = self.rest;
        let mut length = usize::from(first == '-');
        let digits = |from: usize, hex: bool| {
            let is_digit = |c: char| {
                if hex {
                    c.is_ascii_hexdigit()
                } else {
                    c.is_ascii_digit()
                }
            };
            let end = all[from..].find(|c| !is_digit(c));
            end.map_or(all.len(), |end| from + end)
        };
        if all[length..].starts_with("0x") || all[length..].starts_with("0X") {
            length = digits(length + 2, true);
            return self.advance(length);
        }
        length = digits(length, false);
        if all[length..].starts_with('.') {
            length = digits(length + 1, false);
        }
        if all[length..].starts_with(['e', 'E']) {
            length += 1;
            length += usize::from(all[length..].starts_with(['+', '-']));
            length = digits(length, false);
        }
        self.advance(length)
    }

    /// Scans a heredoc after its first `<`.
    fn heredoc(&mut self, at: Position) -> Result<String, SyntaxError> {
        let failed = |why: &str| Err(SyntaxError::new(at, why));
        let all = self.rest;
        if self.next() != Some('<') {
            return failed("expected `<<` of a heredoc, found `<`");
        }
        if self.peek() == Some('-') {
            self.next();
        }
        self.take_while(is_word);
        if self.rest.starts_with("\r\n") {
            self.next();
        }
        let anchor = &all[1..all.len() - self.rest.len()];
        match self.next() {
            None => return failed("the heredoc has no end"),
            Some('\n') => {}
            Some(_) => return failed("expected a word and the end of the line after `<<`"),
        }
        if matches!(anchor, "" | "-") {
            return failed("expected a word after `<<`, which ends the heredoc");
        }
        loop {
            let Some(end) = self.rest.find('\n') else {
                let why = format!("the heredoc has no end: expected a line with `{anchor}` alone");
                return failed(&why.replace("`-", "`"));
            };
            let line = &self.advance(end + 1)[..end];
            if literal::ends_heredoc(line, anchor) {
                let text = &all[..all.len() - self.rest.len()];
                return Ok(literal::heredoc(text));
            }
        }
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
