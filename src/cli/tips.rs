//! What a refused command line is answered: clap's sentence, with tips that lead somewhere.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// What kubectl does and the small client does not.
const KUBECTLS: &[&str] = &[
    "annotate",
    "api-resources",
    "api-versions",
    "attach",
    "autoscale",
    "auth",
    "cluster-info",
    "config",
    "cordon",
    "cp",
    "create",
    "debug",
    "diff",
    "drain",
    "edit",
    "events",
    "explain",
    "expose",
    "label",
    "patch",
    "port-forward",
    "proxy",
    "replace",
    "rollout",
    "run",
    "scale",
    "set",
    "taint",
    "top",
    "uncordon",
    "version",
    "wait",
];
/// More commands than this that know a flag help nobody.
const COMMANDS_MAX: usize = 4;

/// `error` with better tips; `table` is the command line's.
pub(crate) fn improve(mut error: Error, table: &Command) -> Error {
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            // "To pass '--x' as a value, use '-- --x'" is what nobody wants who mistypes a flag.
            without(&mut error, "as a value, use");
            text(&error, ContextKind::InvalidArg).and_then(|word| other_place(&word, table))
        }
        ErrorKind::InvalidSubcommand => text(&error, ContextKind::InvalidSubcommand).and_then(|word| kubectls(&word)),
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Takes away suggestions that contain `words`.
fn without(error: &mut Error, words: &str) {
    let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) else { return };
    let kept: Vec<StyledStr> = tips.into_iter().filter(|tip| !tip.to_string().contains(words)).collect();
    if !kept.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(kept));
    }
}

/// Where a flag belongs that this command does not have, or a word that is one too many.
fn other_place(word: &str, table: &Command) -> Option<String> {
    let Some(flag) = word.strip_prefix("--") else {
        return (!word.starts_with('-')).then(|| "a command for a container stands after --".to_owned());
    };
    let flag = flag.split('=').next().unwrap_or(flag);
    let mut found = Vec::new();
    commands_with(flag, table, "", &mut found);
    let known = !found.is_empty() && found.len() <= COMMANDS_MAX;
    known.then(|| format!("--{flag} is a flag of {}", found.join(", ")))
}

fn commands_with(flag: &str, command: &Command, path: &str, found: &mut Vec<String>) {
    let path = format!("{path} {}", command.get_name());
    if command.get_arguments().any(|arg| arg.get_long() == Some(flag) && !arg.is_hide_set()) {
        found.push(format!("'{}'", path.trim()));
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        commands_with(flag, inner, &path, found);
    }
}

fn kubectls(word: &str) -> Option<String> {
    let is_known = KUBECTLS.contains(&word);
    is_known.then(|| {
        format!("kubectl has it, and works with this API server: kubectl --kubeconfig {} {word}", super::KUBECONFIG)
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;

    fn refusal(words: &[&str]) -> String {
        let words = ["skiff"].iter().chain(words);
        Cli::read(words).map(|cli| format!("{cli:?}")).unwrap_err().to_string()
    }

    /// Fault N16: `skiff image import F --data-dir D` was answered with "to pass '--data-dir' as a value, use '-- --data-dir'".
    #[test]
    fn tips_lead_somewhere() {
        let text = refusal(&["get", "pods", "--publish", "1:2"]);
        assert!(
            text.contains("unexpected argument '--publish'") && text.contains("--publish is a flag of 'skiff up'"),
            "{text}"
        );
        let text = refusal(&["get", "pods", "--no-such-thing"]);
        assert!(!text.contains("tip:"), "{text}");
        let text = refusal(&["get", "pods", "--selectr", "a=b"]);
        assert!(text.contains("'--selector'"), "{text}");
        let text = refusal(&["exec", "web", "ls"]);
        assert!(text.contains("stands after --"), "{text}");
        let text = refusal(&["scale", "deploy/web"]);
        assert!(text.contains("kubectl --kubeconfig /var/lib/skiff/admin.kubeconfig scale"), "{text}");
        let text = refusal(&["aply"]);
        assert!(text.contains("'apply'"), "{text}");
        let text = refusal(&["-n", "shop", "up"]);
        assert!(text.contains("'--namespace'") && text.contains("'skiff up'"), "{text}");
    }
}
