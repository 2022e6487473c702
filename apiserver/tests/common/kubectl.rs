//! A kubectl, and where it works.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use crate::common::World;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// See the module.
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    kubeconfig: PathBuf,
    pub(crate) home: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(world: &World, program: PathBuf) -> Self {
        let home = world.folder.path().join(program.file_name().expect("a file"));
        fs::create_dir_all(&home).expect("home");
        Self { program, kubeconfig: world.kubeconfig(), home }
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments.split_whitespace()).env_clear().env("HOME", &self.home);
        command.env("KUBECONFIG", &self.kubeconfig).current_dir(&self.home).stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("kubectl starts")
    }

    /// What a command that must succeed prints.
    pub(crate) fn run(&self, arguments: &str) -> String {
        let output = self.output(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{} {arguments}\n{out}{err}", self.program.display());
        out + &err
    }

    /// What a command that must fail prints.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{} {arguments} should fail", self.program.display());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path: PathBuf = self.home.join(name);
        fs::write(&path, text).expect("manifest");
        path
    }
}
