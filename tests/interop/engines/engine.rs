//! What podman and docker have in common: a command line, and runc to compare with.

use crate::arena::{Arena, Said};
use skiff_harness::skip;

/// An engine whose containers ours runs.
pub(crate) trait Engine {
    /// Where it runs.
    fn arena(&self) -> &Arena;

    /// A command as given.
    fn call(&self, words: &[&str]) -> Said;

    /// `run` with options and the program's words, in the test's cgroup, without a network.
    fn run(&self, options: &[&str], program: &[&str]) -> Said;

    /// The same, by runc.
    fn run_by_runc(&self, options: &[&str], program: &[&str]) -> Said;

    /// Of what a failed command said, why it failed.
    fn reason(said: &Said) -> String;

    /// `run --rm` of a shell script.
    fn once(&self, options: &[&str], script: &str) -> Said {
        self.run(&[&["--rm"], options].concat(), &["sh", "-c", script])
    }

    /// The same, which must succeed.
    #[track_caller]
    fn sh(&self, options: &[&str], script: &str) -> String {
        self.once(options, script).ok()
    }

    /// Whether the engine can do it here with runc; if not, the reason becomes a skip.
    fn can(&self, options: &[&str]) -> bool {
        let said = self.run_by_runc(&[&["--rm"], options].concat(), &["true"]);
        if said.code != 0 {
            skip(&format!("{}: with runc, too: {}", options.join(" "), Self::reason(&said)));
        }
        said.code == 0
    }
}
