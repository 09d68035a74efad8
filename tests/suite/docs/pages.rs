//! Reads the fenced blocks of a page, and the commands in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and the pages of `docs/`, as paths below the root.
pub fn pages() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    let name = |file: PathBuf| file.strip_prefix(root()).unwrap().display().to_string();
    let mut pages: Vec<String> = pages.map(name).collect();
    pages.sort();
    pages.insert(0, "README.md".to_owned());
    pages
}

/// A fenced block.
pub struct Block {
    /// The number of the line with the fence.
    pub line: usize,
    /// The language, such as `sh`.
    pub tag: String,
    /// The lines between the fences, without the indentation of the fence.
    pub lines: Vec<String>,
}

impl Block {
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn has_commands(&self) -> bool {
        ["sh", "console"].contains(&self.tag.as_str())
    }
}

/// A command of a block, with the output that the page has for it.
pub struct Documented {
    /// The number of its first line.
    pub line: usize,
    /// As it is written, without the prompt.
    pub text: String,
    /// The lines after it in a block `console`, `None` in a block `sh`.
    pub output: Option<Vec<String>>,
}

/// The blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, None) => None,
            (None, Some(tag)) => {
                let (line, tag, lines) = (index + 1, tag.to_owned(), Vec::new());
                Some((Block { line, tag, lines }, indent))
            }
            (Some((block, _)), Some(_)) => {
                blocks.push(block);
                None
            }
            (Some((mut block, indent)), None) => {
                block
                    .lines
                    .push(line.get(indent..).unwrap_or_default().to_owned());
                Some((block, indent))
            }
        };
    }
    assert!(open.is_none(), "{page}: the last block has no end");
    blocks
}

/// The commands of a block. Panics if bash cannot parse one of them.
pub fn commands(page: &str, block: &Block) -> Vec<Documented> {
    let mut commands: Vec<Documented> = Vec::new();
    let mut whole = true;
    for (index, line) in block.lines.iter().enumerate() {
        let prompt = line.strip_prefix("$ ").filter(|_| block.tag == "console");
        if !whole {
            let command = commands.last_mut().unwrap();
            command.text += "\n";
            command.text += line;
        } else if block.tag == "console" && prompt.is_none() {
            let command = commands.last_mut();
            let output = command.and_then(|command| command.output.as_mut());
            let at = block.line + index + 1;
            let output = output.unwrap_or_else(|| panic!("{page}:{at}: a command is expected"));
            output.push(line.clone());
            continue;
        } else if line.trim().is_empty() || line.starts_with('#') {
            continue;
        } else {
            commands.push(Documented {
                line: block.line + index + 1,
                text: prompt.unwrap_or(line).to_owned(),
                output: prompt.map(|_| Vec::new()),
            });
        }
        whole = is_whole(&commands.last().unwrap().text);
    }
    let last = commands.last();
    assert!(
        whole,
        "{page}:{}: bash cannot parse this command",
        last.unwrap().line
    );
    commands
}

/// Returns whether bash needs no further line for this command.
fn is_whole(text: &str) -> bool {
    let parsed = Command::new("bash").args(["-nc", text]).output().unwrap();
    parsed.status.success() && !text.ends_with('\\')
}

/// The commands between backquotes outside of blocks: each with the number of its line.
pub fn inline_commands(page: &str) -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut commands = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let spans = line.split('`').skip(1).step_by(2);
            let found =
                spans.filter(|span| span.starts_with("vault-bake ") || span.starts_with("make "));
            commands.extend(found.map(|span| (index + 1, span.to_owned())));
        }
    }
    commands
}
