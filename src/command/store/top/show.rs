//! The view, for a person or for a script.

use super::super::print::size;
use super::Screen;
use super::census::Census;
use super::look::Look;
use crate::cli::{Form, Output, TopArgs};
use crate::client::{plain_table, text};
use crate::command::get;
use crate::exit::sentence;
use crate::out::{self, complain, show};
use serde_json::json;

/// To the upper left corner; and everything below is cleared.
const OVER: &str = "\x1b[H\x1b[J";

pub(super) fn show(args: &TopArgs, screen: Screen, name: &str, look: &Look, census: &Census) -> anyhow::Result<()> {
    if let Some(form) = args.form.output {
        let mut value = look.value();
        value["endpoint"] = json!(name);
        value["keys"] = census.value(args.prefixes);
        return match (form, screen) {
            // A line each, as scripts that read a stream want it.
            (Form::Json, Screen::Lines | Screen::Terminal) => show!("{value}"),
            (Form::Json, Screen::Once) => out::print_bytes(get::render(&value, Output::Json)?.as_bytes()),
            (Form::Yaml, _) => out::print(format_args!("---\n{}", get::render(&value, Output::Yaml)?)),
        };
    }
    match screen {
        Screen::Once => show!("{}", whole(args, name, look, census)),
        Screen::Terminal => show!("{OVER}{}", whole(args, name, look, census)),
        Screen::Lines => show!("{}", line(look, census)),
    }
}

/// The server does not answer.
pub(super) fn trouble(args: &TopArgs, screen: Screen, name: &str, error: &anyhow::Error) -> anyhow::Result<()> {
    match (args.form.output, screen) {
        (None, Screen::Terminal) => show!("{OVER}{name}\n\n{}", sentence(error)),
        // On the other stream, so that a script's input stays what it expects.
        _ => {
            complain!("{}", sentence(error));
            Ok(())
        }
    }
}

fn line(look: &Look, census: &Census) -> String {
    format!(
        "revision {}  writes/s {}  keys {}  watchers {}  leases {}  db {}  in use {}  probe {}{}",
        look.revision,
        rate(look),
        census.total().keys,
        watchers(look),
        look.leases,
        size(look.db_bytes),
        size(look.used_bytes),
        probe(look),
        errors(look)
    )
}

fn whole(args: &TopArgs, name: &str, look: &Look, census: &Census) -> String {
    let total = census.total();
    let figures = [
        ("revision", look.revision.to_string()),
        ("writes per second", rate(look)),
        ("watchers", watchers(look)),
        ("leases", look.leases.to_string()),
        ("database", format!("{}, {} of it in use", size(look.db_bytes), size(look.used_bytes))),
        ("keys", format!("{} ({})", total.keys, size(total.bytes))),
        ("a read takes", probe(look)),
    ];
    let figures: String = figures.iter().map(|(what, value)| format!("{what:<20}{value}\n")).collect();
    let mut table = plain_table(["PREFIX", "KEYS", "SIZE"]);
    for (prefix, sum) in census.biggest(args.prefixes) {
        table.add_row([prefix.to_owned(), sum.keys.to_string(), size(sum.bytes)]);
    }
    format!("{name}, version {}\n\n{figures}{}\n{}", look.version, errors(look), text(&table))
}

fn rate(look: &Look) -> String {
    look.writes_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

fn watchers(look: &Look) -> String {
    look.watchers.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn probe(look: &Look) -> String {
    format!("{:.1} ms", look.probe.as_secs_f64() * 1000.0)
}

fn errors(look: &Look) -> String {
    look.errors.iter().map(|error| format!("  {}", error.trim())).collect()
}
