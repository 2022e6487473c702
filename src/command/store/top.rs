//! `skiff store top`: what happens in a store, again and again.
//!
//! On a terminal one screen that is drawn anew; elsewhere a line each time. A server that goes away is said so and waited for.

mod census; // which prefixes are big
mod look; // one look at everything else
mod metrics; // what a server tells over HTTP only
mod show; // for a person, or for a script

use super::which;
use crate::cli::TopArgs;
use crate::command::stop;
use crate::exit::sentence;
use census::Census;
use look::Look;
use std::io::{IsTerminal, stdout};
use tokio::time::Instant;

/// How the result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// The whole view, once.
    Once,
    /// The whole view over the last one.
    Terminal,
    /// A line each time.
    Lines,
}

pub(super) async fn run(args: &TopArgs) -> anyhow::Result<()> {
    let stop = stop::token()?;
    let opened = which::first(&args.which).await?;
    let screen = match (args.once, stdout().is_terminal()) {
        (true, _) => Screen::Once,
        (false, true) => Screen::Terminal,
        (false, false) => Screen::Lines,
    };
    let (mut census, mut last) = (Census::default(), None);
    loop {
        let looked = Look::take(&opened, last.as_ref()).await;
        if let Ok(look) = &looked
            && census.is_due(Instant::now())
            && let Err(error) = census.count(&opened, look.revision, args.depth).await
        {
            tracing::debug!(error = sentence(&error), "cannot count keys");
        }
        match looked {
            Ok(look) => {
                show::show(args, screen, &opened.name, &look, &census)?;
                last = Some(look);
            }
            Err(error) if screen == Screen::Once => {
                opened.close().await;
                return Err(error);
            }
            Err(error) => show::trouble(args, screen, &opened.name, &error)?,
        }
        if screen == Screen::Once {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(args.interval) => (),
        }
    }
    opened.close().await;
    Ok(())
}
