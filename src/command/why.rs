//! `skiff why`: asks an API server for what an explanation needs, and prints it.
//!
//! The explaining is in `skiff_why`, which names the paths that it lacks answers for; here they are asked for, in a few rounds.

use crate::cli::{Output, Telling, WhyArgs};
use crate::client::must_exist;
use crate::command::get::render;
use crate::exit::{Said, sentence};
use crate::out::{self, Closed, complain};
use anyhow::{Context, bail};
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use serde_json::Value;
use skiff_client::kube::{Client, Error};
use skiff_why::{Answer, Facts, Kind, Step, Style, Target, Told, Verdict, explain};
use std::io::IsTerminal;
use std::time::Duration;

/// How long one answer may take: a node that is away must not keep what is known of the others.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Questions that are under way at a time.
const AT_ONCE: usize = 8;
/// An explanation follows references (pod, node, its kubelet), none of which is longer than this.
const ROUNDS_MAX: usize = 12;

pub(crate) async fn run(args: WhyArgs) -> anyhow::Result<()> {
    match told(&args).await {
        Ok(Verdict::Nothing) => Ok(()),
        Ok(verdict) => Err(Said(verdict.code()).into()),
        Err(error) if error.is::<Closed>() => Err(error),
        Err(error) => {
            complain!("skiff: {}", sentence(&error));
            Err(Said(Verdict::Unknown.code()).into())
        }
    }
}

async fn told(args: &WhyArgs) -> anyhow::Result<Verdict> {
    let path = &args.server.kubeconfig;
    must_exist(path)?;
    let client = skiff_client::from_kubeconfig(path).await?;
    let target = target(args, client.default_namespace())?;
    let answer = explained(&client, &target).await?;
    show(&answer, args.output)?;
    Ok(answer.verdict())
}

/// What `args` ask about; a name alone is a pod's.
fn target(args: &WhyArgs, namespace: &str) -> anyhow::Result<Target> {
    let (kind, name) = match args.what.as_slice() {
        [kind, name] => (kind.as_str(), name.as_str()),
        [one] => one.split_once('/').unwrap_or(("pod", one)),
        _ => bail!("want KIND/NAME, such as pod/web"),
    };
    let kind = Kind::named(kind).map_err(anyhow::Error::msg)?;
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter)) {
        bail!("{name:?} is no name of an object");
    }
    if args.to.is_some() && kind != Kind::Pod {
        bail!("--to is where a pod is to come: name a pod, not a {}", kind.name());
    }
    let namespace = args.server.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    Ok(Target { kind, namespace, name: name.to_owned(), to: args.to.clone() })
}

/// Asks until nothing is missing.
async fn explained(client: &Client, target: &Target) -> anyhow::Result<Answer> {
    let mut facts = Facts::at(Timestamp::now());
    for round in 0..ROUNDS_MAX {
        let paths = match explain(target, &facts) {
            Step::Done(answer) => return Ok(answer),
            Step::Ask(paths) => paths,
        };
        let asked =
            stream::iter(paths).map(|path| async { (ask(client, &path).await, path) }).buffer_unordered(AT_ONCE);
        let answers: Vec<_> = asked.collect().await;
        if round == 0
            && let Some((Err(error), _)) = answers.iter().find(|(answer, _)| answer.is_err())
        {
            bail!("ask the API server: {error}; is the node up?");
        }
        for (answer, path) in answers {
            facts.tell(path, answer.unwrap_or_else(Told::Unknown));
        }
    }
    bail!("the explanation has asked {ROUNDS_MAX} times and wants to know more")
}

/// The answer for `path`; an error: there is no server that would answer.
async fn ask(client: &Client, path: &str) -> Result<Told, String> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| format!("GET {path}: {error}"))?;
    let answer = tokio::time::timeout(ANSWER_MAX, client.request_text(request)).await;
    match answer {
        Ok(Ok(text)) => Ok(Told::Is(serde_json::from_str(&text).unwrap_or(Value::String(text)))),
        Ok(Err(Error::Api(status))) if status.code == 404 => Ok(Told::Absent),
        Ok(Err(Error::Api(status))) => Ok(Told::Unknown(status.message.trim().to_owned())),
        Ok(Err(error)) => Err(skiff_client::sentence(&error)),
        Err(_) => Ok(Told::Unknown(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

fn show(answer: &Answer, form: Telling) -> anyhow::Result<()> {
    let form = match form {
        Telling::Text => {
            let style = if wants_colours() { Style::COLOURS } else { Style::PLAIN };
            return out::print(format_args!("{}", answer.text(style)));
        }
        Telling::Json => Output::Json,
        Telling::Yaml => Output::Yaml,
    };
    out::print_bytes(render(&answer.json(), form).context("print the explanation")?.as_bytes())
}

/// Colours are for people: a terminal, and nobody has asked for none (no-color.org).
fn wants_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
