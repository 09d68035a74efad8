//! HCL 1: accepted and refused files, and a round trip with any layout.

use proptest::prelude::*;
use std::fmt::Write as _;

use vault_bake::hcl1::{
    Element, Item, JsonDialect, Key, Position, Value, is_json, parse_hcl, parse_json,
};

/// Formats items without blanks and comments; keys in quotes, `=` if the file has it.
fn plain(items: &[Item]) -> String {
    let items = items.iter().map(|item| {
        let keys: Vec<String> = item
            .keys
            .iter()
            .map(|key| format!("{:?}", key.name))
            .collect();
        let assigned = if item.assigned { "=" } else { "" };
        format!("{}{assigned}{}", keys.join(" "), value(&item.value))
    });
    items.collect::<Vec<_>>().join("; ")
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(all) => {
            let all: Vec<String> = all.iter().map(|one| self::value(&one.value)).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Object(items) => format!("{{{}}}", plain(items)),
    }
}

fn results<'a>(files: impl IntoIterator<Item = &'a str>, read: impl Fn(&str) -> String) -> String {
    let mut all = String::new();
    for file in files {
        writeln!(all, "{file:?}\n    {}", read(file)).unwrap();
    }
    all
}

fn hcl(text: &str) -> String {
    parse_hcl(text).map_or_else(|error| format!("refused {error}"), |items| plain(&items))
}

/// HashiCorp's parser of HCL 1 gives the same result for each of these.
#[test]
fn what_hcl_1_accepts_is_read() {
    let files = [
        "",
        "# nothing",
        "a = 1\nb = 2",
        "a = 1, b = 2,",
        "a=1b=2 c{}d{}",
        "listener \"tcp\" { address = \"x\" tls_disable = 1 }",
        "a { b { c = 1 } },\n",
        "a = { \"b\" = 1, c { d = 2 } }",
        "\"quoted key\" = 1\n\"block\" label \"other label\" {}",
        "tls-skip-verify = true\ntls.defaults = false\n_x1 = \"\"",
        "# one\n// two\n/* three\n * four */ a /**/ = // five\n 1 # six",
        "a = []\nb = [1, \"2\", true,]\nc = [{ d = 1 }, { d = 2 }]\nd = [[1], [2]]",
        "a = [\n  # first\n  1,\n\n  2 // last\n]",
        "a = [,1,,2]\nb = [[1] [2]]",
        "a = 0x1F\nb = -0x1f\nc = 0660\nd = -7\ne = 0",
        "a = 1.5\nb = -1.5e3\nc = 1E-2\nd = .5\ne = 1.",
        r#"a = "\a\b\f\n\r\t\v\\\"\101\x41\u00e9\U0001F600""#,
        "a = \"${ \"quotes\" and {braces}\nand lines \\n }\"",
        "a = \"$x {y} $\"",
        "a = \"tab\tand é\"",
        "a = <<EOF\n${ open and %{ too \"\\n\nEOF\nb = 1",
        "a = <<EOF\nx\n  EOF\n",
        "a = <<EOF\nnot EOF\nEOF \n EOF x\nEOF\n",
        "a = <<-EOF\n    x\n      y\n    EOF\n",
        "a = <<-EOF\n  x\n      y\n    EOF\n",
        "a = [<<A\nx\nA\n, <<B\ny\nB\n]",
        "a = 1\r\nb {\r\n c = <<EOF\r\nx\r\nEOF\r\n}\r\n",
        "été = 1",
        "TRUE = true\nif = 1\nnull = 2",
        "a = 1\na = 2\nA = 3",
    ];
    insta::assert_snapshot!("hcl1_accepted", results(files, hcl));
}

#[test]
fn what_hcl_1_refuses_says_what_was_expected_where() {
    let files = [
        "\u{feff}a = 1",
        "a = 1\n  # \0",
        "a",
        "a b",
        "a {",
        "a { b",
        "a {\n  b = 1\n",
        "}",
        "a = 1 }",
        "= 1",
        "{ a = 1 }",
        "a = { = }",
        "a \"b\" = 1",
        "1 = 2",
        "true = 1",
        ", a = 1",
        "a = 1,, b = 2",
        "a : 1",
        "a = TRUE",
        "a = null",
        "a = var.b",
        "a = upper(\"b\")",
        "a = 1 + 2",
        "a = -x",
        "a = [1 2]",
        "a = [1",
        "a = [b]",
        "a = [}",
        "a = \"x",
        "a = \"x\ny\"",
        "a = \"${ x",
        r#"a = "\q""#,
        r#"a = "\x4""#,
        r#"a = "\777""#,
        r#"a = "\U00110000""#,
        r#"a = "\'""#,
        "a = 'b'",
        "a = 089",
        "a = 0x",
        "a = 1e",
        "a = 1e400",
        "a = 9223372036854775808",
        "a = <EOF\n",
        "a = <<\n",
        "a = <<EOF x\n",
        "a = <<EOF\nx\nEOF",
        "a = <<-EOF\nx\nEOF\n",
        "a = <<EOF\nx\nEOFX\n",
        "/* a",
        "a = 1 / 2",
        "a = $b",
        "a = %{b}",
        // HashiCorp's parser silently drops such an end.
        "a = 1\nb =",
    ];
    let text = results(files, hcl);
    assert_eq!(text.matches("    refused ").count(), files.len(), "{text}");
    insta::assert_snapshot!("hcl1_refused", text);
    let deep = format!("a = {}", "[".repeat(100));
    insta::assert_snapshot!(hcl(&deep), @"refused 1:69: nested deeper than 64 levels");
}

#[test]
fn json_is_read_as_each_reader_does() {
    let files = [
        "{}",
        r#" { "a": 1, "b": [1, "x", {"c": null}], "d": {"e": true} } "#,
        r#"{"a": -1.5e3, "b": 12345678901234567890, "c": 0}"#,
        r#"{"a": "\u00e9\n\t\\\""}"#,
        r#"{"a": 1,}"#,
        r#"{"a": [1, 2,]}"#,
        r#"{"a": "\/"}"#,
        r#"{"a": "\ud83d\ude00"}"#,
        r#"{"a": "\ufffd"}"#,
        r#"{"a": "\x41"}"#,
        "{\"a\": \"tab\t\"}",
        r#"{"a": [true]}"#,
        r#"{"a": [[1]]}"#,
        r#"{"a": 1 "b": 2}"#,
        r#"{"a": 1} {"b": 2}"#,
        r#"{"a": 1,,}"#,
        r#"{"a": [1"#,
        r#"{"a": 01}"#,
        r#"{"a": +1}"#,
        r#"{"a": True}"#,
        r#"{a: 1}"#,
        r#"{"a" 1}"#,
        r#"{"a": "x"#,
        "{\n  \"a\": 1,\n  // comment\n  \"b\": 2\n}",
        "[]",
        "",
        "\u{feff}{}",
    ];
    let read = |text: &str| {
        let read = |dialect| match parse_json(text, dialect) {
            Ok(items) => plain(&items),
            Err(error) => format!("refused {error}"),
        };
        match (read(JsonDialect::Strict), read(JsonDialect::Hcl1)) {
            (strict, hcl) if strict == hcl => strict,
            (strict, hcl) => format!("{strict}\n    HCL 1: {hcl}"),
        }
    };
    insta::assert_snapshot!("hcl1_json", results(files, read));
    assert!(is_json("\n\u{a0} {") && !is_json("a {") && !is_json(""));
}

/// Positions count lines and characters, not bytes.
#[test]
fn keys_and_elements_know_their_place() {
    let items = parse_hcl("é = 1\r\n\r\n  b \"c\" {\n\td = [1,\n 2]\n}\n").unwrap();
    let at = |line, column| Position { line, column };
    assert_eq!(items[0].keys[0].at, at(1, 1));
    assert_eq!(
        (items[1].keys[0].at, items[1].keys[1].at),
        (at(3, 3), at(3, 5))
    );
    let Value::Object(body) = &items[1].value else {
        panic!("a block")
    };
    let Value::List(list) = &body[0].value else {
        panic!("a list")
    };
    assert_eq!((body[0].keys[0].at, list[1].at), (at(4, 2), at(5, 2)));
}

/// The layout of a tree, generated from numbers.
struct Layout<'a> {
    choices: &'a [u8],
    next: usize,
}

impl Layout<'_> {
    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        self.next += 1;
        from[usize::from(self.choices[self.next % self.choices.len()]) % from.len()]
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&["", " ", "\t", "\n", "\r\n", " /* } */ ", " # ]\n", "//\"\n"])
    }

    fn key(&mut self, name: &str) -> String {
        let first = name
            .chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_');
        let bare = first && !matches!(name, "true" | "false");
        let bare = bare
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.".contains(c));
        match bare && self.pick(&["", "quoted"]).is_empty() {
            true => name.to_owned(),
            false => self.text(name),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut quoted = String::from("\"");
        let mut after_dollar = false;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(quoted, "\\{c}").unwrap(),
                '\n' => quoted += self.pick(&["\\n", "\\012", "\\x0a", "\\u000A"]),
                // Otherwise the following text would not be decoded.
                '{' if after_dollar => quoted += "\\x7b",
                c if c.is_control() => write!(quoted, "\\U{:08x}", u32::from(c)).unwrap(),
                c => quoted.push(c),
            }
            after_dollar = c == '$';
        }
        quoted + "\""
    }

    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Bool(flag) => flag.to_string(),
            Value::Integer(number) if *number >= 0 && self.next.is_multiple_of(3) => {
                match self.next % 2 {
                    0 => format!("0x{number:x}"),
                    _ => format!("0{number:o}"),
                }
            }
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:e}").replace("e0", ".0e0"),
            Value::Text(text) => {
                let heredoc = text.ends_with('\n') && !text.contains(['\r', '\0', '\u{e123}']);
                match heredoc && self.pick(&["", "quoted"]).is_empty() {
                    true => self.heredoc(text),
                    false => self.text(text),
                }
            }
            Value::List(all) => {
                let mut list = String::from("[");
                for element in all {
                    let (before, after) = (self.blank(), self.blank());
                    write!(list, "{before}{}{after},", self.value(&element.value)).unwrap();
                }
                let end = self.pick(&["", ",", "\n"]);
                list + end + "]"
            }
            Value::Object(items) => format!("{{{}}}", self.items(items)),
            Value::Null => unreachable!("HCL has none"),
        }
    }

    fn heredoc(&mut self, text: &str) -> String {
        match self.pick(&["", "indented"]) {
            "" => format!("<<END_OF_IT\n{text}END_OF_IT\n"),
            _ => {
                let lines: String = text.lines().map(|line| format!("  {line}\n")).collect();
                format!("<<-END_OF_IT\n{lines}  END_OF_IT\n")
            }
        }
    }

    fn items(&mut self, items: &[Item]) -> String {
        let mut all = self.blank().to_owned();
        for item in items {
            for key in &item.keys {
                // A blank is needed only between words.
                all = all + &self.key(&key.name) + " " + self.blank();
            }
            all += if item.assigned { "=" } else { "" };
            all = all + self.blank() + &self.value(&item.value);
            all += self.pick(&["\n", ",", " ", ",\n", "\r\n", " # end\n"]);
            all += self.blank();
        }
        all
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_][a-zA-Z0-9_.-]{0,8}",
        "\\PC{0,12}",
        "([ -~\t\"$\\{\\}\\\\]{0,8}\n){1,3}"
    ]
    .prop_filter("reserved by HCL 1", |text| !text.contains('\u{e123}'))
}

fn values() -> impl Strategy<Value = Value> {
    let single = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (-1e12..1e12).prop_map(Value::Float),
        texts().prop_map(Value::Text),
    ];
    let at = Position::START;
    let key = move |name| Key { name, at };
    single.prop_recursive(4, 48, 4, move |inner| {
        let assigned = (texts(), inner.clone()).prop_map(move |(name, value)| Item {
            keys: vec![key(name)],
            assigned: true,
            value,
        });
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(move |all| {
            let all = all.into_iter().map(|value| Element { at, value });
            Value::List(all.collect())
        });
        let items = prop::collection::vec(assigned, 0..4).boxed();
        let block = (prop::collection::vec(texts(), 1..4), items.clone()).prop_map(
            move |(names, items)| Item {
                keys: names.into_iter().map(key).collect(),
                assigned: false,
                value: Value::Object(items),
            },
        );
        let blocks = (items, prop::collection::vec(block, 0..3));
        let object = blocks.prop_map(|(items, blocks)| Value::Object([items, blocks].concat()));
        prop_oneof![list, object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A tree in any layout that HCL 1 allows is read back unchanged.
    #[test]
    fn a_tree_in_any_layout_is_read_back(
        value in values(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let item = Item {
            keys: vec![Key { name: "root".to_owned(), at: Position::START }],
            assigned: true,
            value,
        };
        let items = [item];
        let text = Layout { choices: &choices, next: 0 }.items(&items);
        let read = parse_hcl(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(plain(&read), plain(&items), "{}", text);
    }

    /// Any text gives a result, and its position is within the file.
    #[test]
    fn any_text_has_an_answer(text in "[a-c \n=\\{\\}\\[\\],\"\\\\$<#/*0-9.e-]{0,60}") {
        let lines = text.split('\n').count();
        let answers = [
            parse_hcl(&text),
            parse_json(&text, JsonDialect::Strict),
            parse_json(&text, JsonDialect::Hcl1),
        ];
        for error in answers.into_iter().filter_map(Result::err) {
            prop_assert!((1..=lines).contains(&error.at.line), "{} in {:?}", error, text);
        }
    }
}
