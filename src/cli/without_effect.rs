//! Flags of Kubernetes' components that stock manifests pass and that have no effect here: each is taken, and a line says why, so that a
//! manifest works and nobody believes more than is true. A flag that is unknown to Kubernetes too is refused.
//!
//! A table gives way to flags that a component has itself, if it stands behind them: who makes one of them work has only to add it.

mod tables; // which flags, and why

use crate::out::complain;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::marker::PhantomData;
use tables::Reason;

pub(crate) use tables::{Apiserver, ControllerManager, Kubelet, Proxy, Scheduler};

/// A component of Kubernetes.
pub(crate) trait Component {
    /// Its flags that have no effect here, by reason.
    const FLAGS: &'static [Reason];
}

/// The flags without effect that were given, with the reasons.
#[derive(Debug, Clone)]
pub(crate) struct WithoutEffect<C> {
    given: Vec<(&'static str, &'static str)>,
    of: PhantomData<C>,
}

fn flags<C: Component>() -> impl Iterator<Item = (&'static str, &'static str)> {
    C::FLAGS.iter().flat_map(|(reason, flags)| flags.split_whitespace().map(move |flag| (flag, *reason)))
}

impl<C> WithoutEffect<C> {
    /// A line for each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.given.iter().map(|(flag, reason)| format!("--{flag} has no effect: {reason}")).collect()
    }

    /// Says so.
    pub(crate) fn warn(&self) {
        for line in self.lines() {
            complain!("warning: {line}");
        }
    }
}

impl<C: Component> FromArgMatches for WithoutEffect<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = |flag: &str| matches.ids().any(|id| id.as_str() == flag);
        Ok(Self { given: flags::<C>().filter(|(flag, _)| is_given(flag)).collect(), of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<C: Component> Args for WithoutEffect<C> {
    fn augment_args(command: Command) -> Command {
        let is_own = |flag: &str| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
        // With a value or without one: which of them take one is Kubernetes' business.
        let arg = |flag: &'static str| {
            let arg = Arg::new(flag).long(flag).num_args(0..=1).allow_negative_numbers(true).hide(true);
            arg.action(clap::ArgAction::Append)
        };
        let more: Vec<Arg> = flags::<C>().filter(|(flag, _)| !is_own(flag)).map(|(flag, _)| arg(flag)).collect();
        command.args(more)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests;
