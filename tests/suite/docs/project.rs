//! The folder that the commands of a page run in: a project, the home of its user, and stubs of other programs.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::pages::root;

/// What a page has in place of a value of the reader.
const PLACEHOLDER_VALUE: &str = "a-value-of-the-reader";

pub struct Project {
    folder: TempDir,
    /// The exit status of the last command, which `$?` of the next one is.
    status: Cell<i32>,
    /// What the last command printed.
    printed: RefCell<String>,
}

impl Project {
    /// A project with the images of this repository, locked, and fixture releases.
    pub fn new() -> Self {
        let project = Self {
            folder: TempDir::new().unwrap(),
            status: Cell::new(0),
            printed: RefCell::default(),
        };
        for image in ["quickstart", "vault-server", "consul-server"] {
            let file = format!("images/{image}/image.toml");
            project.write(&file, &fs::read_to_string(root().join(&file)).unwrap());
        }
        for (name, text) in super::stubs::PROGRAMS {
            project.program(name, text);
        }
        let binary = project.path("bin/vault-bake");
        std::os::unix::fs::symlink(crate::VAULT_BAKE, binary).unwrap();
        project.set("VB_VAR_vault_version", "1.15.6+fixture");
        project.set("VB_VAR_consul_version", "1.8.7");
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Adds a script to the search path, before all programs.
    pub fn program(&self, name: &str, text: &str) {
        let name = format!("bin/{name}");
        self.write(&name, text);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(&name), mode).unwrap();
    }

    /// Sets a variable for all further commands.
    pub fn set(&self, name: &str, value: &str) {
        let session = fs::read_to_string(self.path(".session")).unwrap_or_default();
        self.write(".session", &format!("{session}export {name}='{value}'\n"));
    }

    pub fn printed(&self) -> String {
        self.printed.borrow().clone()
    }

    /// Runs a command after those before it: with their variables and files, and the last exit status.
    /// Returns its exit status. `prelude` comes before it.
    pub fn run(&self, command: &str, prelude: &str) -> i32 {
        let command = command.replace('…', PLACEHOLDER_VALUE).replace(
            "/usr/local/bin/",
            &format!("{}/", self.path("bin").display()),
        );
        let script = format!(
            "exec 2>&1\nset -ao pipefail\n[ ! -e ~/.session ] || . ~/.session\n{prelude}\n(exit {})\n{command}\n\
             status=$?\nexport -p >~/.session\nexit $status\n",
            self.status.get()
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.folder.path().display().to_string();
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", &home)
            .env("PATH", format!("{home}/bin:{path}"))
            .env("COLUMNS", "100")
            .env("STORE", format!("{home}/.local/share/vault-bake/store"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.finish(&output, &home)
    }

    /// Runs a command in an empty folder, with the environment of the test.
    pub fn run_in_empty_folder(&self, command: &str) -> i32 {
        let empty = TempDir::new().unwrap();
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(empty.path())
            .output()
            .unwrap();
        self.finish(&output, &empty.path().display().to_string())
    }

    fn finish(&self, output: &Output, home: &str) -> i32 {
        let status = output.status.code().unwrap();
        self.status.set(status);
        let text = String::from_utf8_lossy(&output.stdout).replace(home, "~");
        // Users other than root see this line of `gc` too.
        let lines = text.split_inclusive('\n');
        let lines = lines.filter(|line| !line.contains("whose open files only root can read"));
        *self.printed.borrow_mut() = lines.collect();
        status
    }

    /// Takes the last exit status as 0: that of a command which was not really run.
    pub fn succeed(&self) {
        self.status.set(0);
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }
}
