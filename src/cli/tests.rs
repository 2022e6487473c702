//! The table of commands is sound: each is explained, each example is a command line, flags are where people put them.

use super::*;

/// Each command that somebody may type, with the words that lead to it.
fn commands(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let inner = inner.flat_map(|inner| commands(inner, &path));
    inner.chain([(path.clone(), command.clone())]).collect()
}

#[test]
fn the_table_is_sound_and_everything_in_it_is_explained() {
    Cli::command().debug_assert();
    for (path, command) in commands(&Cli::command(), "") {
        assert!(command.get_about().is_some(), "{path}: what does it do?");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{path}: {} is not explained", arg.get_id());
        }
        let has_example = command.get_after_help().is_some_and(|help| help.to_string().contains("Example"));
        assert!(has_example || command.has_subcommands(), "{path}: no example");
    }
}

/// Examples in the help must be command lines. Those of other programs are theirs.
#[test]
fn examples_are_command_lines() {
    for (path, command) in commands(&Cli::command(), "") {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|line| line.strip_prefix("  skiff ")) {
            let line =
                line.split("   ").next().unwrap_or_default().split(['>', '<', ';', '|']).next().unwrap_or_default();
            let words: Vec<&str> = std::iter::once("skiff").chain(line.split_whitespace()).collect();
            let read = Cli::read(&words);
            assert!(
                read.is_ok(),
                "{path}: {words:?}: {}",
                read.err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
    }
}

/// Fault N16: flags where people put them.
#[test]
fn flags_may_stand_before_and_after() {
    for line in [
        "image import F --data-dir D",
        "image --data-dir D import F",
        "image list -o json --run-dir R",
        "image -o json list",
        "-v up",
        "up -v",
        "exec -it web -- sh",
        "exec web -c main -n shop -- ls -l",
    ] {
        let words = std::iter::once("skiff").chain(line.split(' '));
        assert!(Cli::read(words).is_ok(), "{line}");
    }
    for line in ["-n shop get pods", "get -n shop pods", "get pods -n shop", "get pods --namespace=shop"] {
        let mut cli = Cli::read(std::iter::once("skiff").chain(line.split(' '))).unwrap();
        assert_eq!(cli.command.server().unwrap().namespace.as_deref(), Some("shop"), "{line}");
    }
    let mut cli = Cli::read(["skiff", "--kubeconfig", "K", "logs", "web"]).unwrap();
    assert_eq!(cli.command.server().unwrap().kubeconfig, PathBuf::from("K"));
}
