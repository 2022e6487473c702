//! `skiff exec`: a command in a running container. Its exit code becomes ours.

use super::logs::pod_of;
use crate::cli::ExecArgs;
use crate::client::{connect, explain};
use crate::exit::Exited;
use crate::out;
use anyhow::{Context, bail};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use skiff_proto::api::v1::exec_input::Input;
use skiff_proto::api::v1::exec_output::Output;
use skiff_proto::api::v1::{ExecEnd, ExecInput, ExecStart, TerminalSize};
use std::io::Write;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Input under way: a little, so that typing ahead works and a fast pipe is held back.
const INPUTS_MAX: usize = 8;

pub(crate) async fn run(args: ExecArgs) -> anyhow::Result<()> {
    let server = connect(&args.server).await?;
    let tty = args.tty && isatty(std::io::stdin());
    let start = ExecStart {
        namespace: server.namespace.clone(),
        pod: pod_of(&server, &args.pod).await?,
        container: args.container.unwrap_or_default(),
        command: args.command,
        stdin: args.stdin,
        tty,
    };
    let (send, receive) = mpsc::channel(INPUTS_MAX);
    send.send(input(Input::Start(start))).await.context("start the command")?;
    let _raw = tty.then(RawTerminal::enter).transpose()?;
    let feeders = [
        args.stdin.then(|| tokio::spawn(feed_stdin(send.clone()))),
        tty.then(|| tokio::spawn(feed_sizes(send.clone()))),
    ];
    let mut outputs =
        server.pods().exec(ReceiverStream::new(receive)).await.map_err(|error| explain(&error))?.into_inner();
    let mut end = None;
    while let Some(message) = outputs.message().await.map_err(|error| explain(&error))? {
        match message.output {
            Some(Output::Stdout(bytes)) => out::print_bytes(&bytes)?,
            Some(Output::Stderr(bytes)) => stderr(&bytes),
            Some(Output::End(last)) => end = Some(last),
            None => {}
        }
    }
    feeders.into_iter().flatten().for_each(|feeder| feeder.abort());
    finish(end)
}

fn finish(end: Option<ExecEnd>) -> anyhow::Result<()> {
    match end {
        // It has no exit code of its own, so the one that is sent says nothing.
        Some(end) if !end.error.is_empty() => bail!("{}", end.error),
        Some(end) if end.exit_code == 0 => Ok(()),
        Some(end) => Err(Exited(u8::try_from(end.exit_code).unwrap_or(1)).into()),
        None => bail!("the connection ended before the command did"),
    }
}

fn input(input: Input) -> ExecInput {
    ExecInput { input: Some(input) }
}

/// Who closed our standard error does not want it, and wants the command to go on.
fn stderr(bytes: &[u8]) {
    let _nobody_listens = std::io::stderr().write_all(bytes);
}

async fn feed_stdin(send: mpsc::Sender<ExecInput>) {
    let (mut stdin, mut buffer) = (tokio::io::stdin(), vec![0; 8192]);
    loop {
        let message = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => Input::StdinClosed(true),
            Ok(length) => Input::Stdin(buffer[..length].to_vec()),
        };
        let last = matches!(message, Input::StdinClosed(_));
        if send.send(input(message)).await.is_err() || last {
            return;
        }
    }
}

async fn feed_sizes(send: mpsc::Sender<ExecInput>) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdin()) {
            let size = TerminalSize { width: size.ws_col.into(), height: size.ws_row.into() };
            if send.send(input(Input::Resize(size))).await.is_err() {
                return;
            }
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// While it lives, keys reach the command as they are typed.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context("set the terminal to raw")?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _gone = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_never_ran_has_a_reason_and_no_code() {
        let end = |exit_code, error: &str| finish(Some(ExecEnd { exit_code, error: error.to_owned() }));
        assert!(end(0, "").is_ok());
        assert_eq!(end(7, "").unwrap_err().downcast::<Exited>().unwrap().0, 7);
        let never_ran = end(-1, "exec: \"/no/such\": no such file or directory").unwrap_err();
        assert!(never_ran.downcast_ref::<Exited>().is_none());
        assert_eq!(never_ran.to_string(), "exec: \"/no/such\": no such file or directory");
    }
}
