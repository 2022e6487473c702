//! `skiff registry`: serves images, and looks at what a registry has.

mod scan; // what is vulnerable

use super::get::render;
use super::stop;
use crate::cli::{Output, RegistryArgs, RegistryCommand, ServeRegistryArgs};
use crate::client::{plain_table, text};
use crate::folders::Folders;
use crate::node::{open_registry, read, read_registry_config, run_registry, tls_acceptor};
use crate::out::{self, show, tell};
use anyhow::{Context, anyhow, bail};
use axum::routing;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use skiff_registry::lifecycle::Policy;
use skiff_registry::{Name, Registry, Store, htpasswd};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) fn run(args: RegistryArgs) -> anyhow::Result<()> {
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    let folder = folders.registry();
    match args.command {
        RegistryCommand::Serve(args) => super::serving(serve(args, &folders)),
        RegistryCommand::List { output } => list(&folder, output),
        RegistryCommand::Tags { repository, output } => tags(&folder, &repository, output),
        RegistryCommand::Preview { repository, policy, config, output } => {
            preview(&folder, &repository, (policy.as_deref(), config.as_deref()), output)
        }
        RegistryCommand::Scan { image, database, config, fail_on, output } => {
            let database = database.unwrap_or_else(|| folders.vulnerabilities());
            let asked = scan::Asked { image: &image, fail_on: fail_on.as_deref(), form: output };
            scan::scan(&folder, scan::scanning(database, config.as_deref())?, &asked)
        }
        RegistryCommand::ImportVulnerabilities { archives, database } => {
            scan::import(&database.unwrap_or_else(|| folders.vulnerabilities()), &archives)
        }
        RegistryCommand::Htpasswd { user } => user_line(&user),
    }
}

async fn serve(args: ServeRegistryArgs, folders: &Folders) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    folders.create()?;
    let config = Arc::new(read_registry_config(args.config.as_deref())?);
    let tls = match (&args.tls_cert_file, &args.tls_private_key_file) {
        (Some(certificate), Some(key)) => Some(tls_acceptor(certificate, key)?),
        _ => None,
    };
    let cluster = match &args.kubeconfig {
        Some(path) => Some(skiff_client::from_kubeconfig(path).await?),
        None => None,
    };
    let registry = open_registry(&folders.registry(), &config, cluster)?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tell!("serving images on {scheme}://{}", listener.local_addr()?);
    if let Some(address) = args.metrics_listen {
        let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics-listen {address}"))?;
        tokio::spawn(metrics(listener, registry.clone(), shutdown.clone()));
    }
    run_registry(registry, config, vec![(listener, tls)], shutdown).await
}

/// Serves figures.
async fn metrics(listener: TcpListener, registry: Arc<Registry>, stop: CancellationToken) {
    let figures = move || {
        let text = registry.metrics();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    let router = axum::Router::new().route("/metrics", routing::get(figures));
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(error = skiff_client::sentence(&error), "serve figures");
    }
}

fn look(folder: &Path) -> anyhow::Result<skiff_registry::State> {
    Store::look(folder).with_context(|| format!("look at the registry in {}", folder.display()))
}

fn named(text: &str) -> anyhow::Result<Name> {
    text.parse().map_err(|refusal: skiff_registry::refusal::Refusal| anyhow!("{}", refusal.message))
}

/// Prints a list in `form`, or as a table of these columns.
fn print(items: &[Value], columns: &[(&str, &str)], name: &str, form: Option<Output>) -> anyhow::Result<()> {
    let cell = |item: &Value, field: &str| match &item[field] {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    match form {
        None | Some(Output::Wide) => {
            let mut table = plain_table(columns.iter().map(|(title, _)| *title));
            for item in items {
                table.add_row(columns.iter().map(|(_, field)| cell(item, field)));
            }
            show!("{}", text(&table))
        }
        Some(Output::Name) => items.iter().try_for_each(|item| show!("{}", cell(item, columns[0].1))),
        Some(form) => out::print_bytes(render(&json!({ name: items }), form)?.as_bytes()),
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn list(folder: &Path, form: Option<Output>) -> anyhow::Result<()> {
    let state = look(folder)?;
    let one = |(name, held): (&Name, &skiff_registry::state::Repository)| {
        let (tags, manifests) = (held.tags.len(), held.manifests.len());
        json!({"name": name.as_str(), "tags": tags, "manifests": manifests, "sizeBytes": held.bytes})
    };
    let items: Vec<Value> = state.repositories().map(one).collect();
    let columns = [("REPOSITORY", "name"), ("TAGS", "tags"), ("MANIFESTS", "manifests"), ("BYTES", "sizeBytes")];
    print(&items, &columns, "repositories", form)
}

fn tags(folder: &Path, repository: &str, form: Option<Output>) -> anyhow::Result<()> {
    let (state, name) = (look(folder)?, named(repository)?);
    let Some(held) = state.repository(&name) else { bail!("repository {name}: there is none") };
    let items = held
        .tags
        .iter()
        .map(|(tag, to)| json!({"tag": tag.as_str(), "digest": to.digest.as_str(), "pushedAt": time(to.at)}));
    let items: Vec<Value> = items.collect();
    print(&items, &[("TAG", "tag"), ("DIGEST", "digest"), ("PUSHED", "pushedAt")], "tags", form)
}

fn preview(
    folder: &Path,
    repository: &str,
    (policy, config): (Option<&Path>, Option<&Path>),
    form: Option<Output>,
) -> anyhow::Result<()> {
    let (state, name) = (look(folder)?, named(repository)?);
    let policy = match (policy, config) {
        (Some(path), _) => {
            let document: Value = serde_json::from_slice(&read(path)?).with_context(|| path.display().to_string())?;
            Policy::read(&document).map_err(|problem| anyhow!("{}: {problem}", path.display()))?
        }
        (None, config) => {
            let found = read_registry_config(config)?.lifecycle(&name);
            found.with_context(|| format!("the configuration has no lifecycle policy for repository {name}"))?
        }
    };
    let Some(held) = state.repository(&name) else { bail!("repository {name}: there is none") };
    let expired = policy.expired(held, Timestamp::now().as_second());
    let one = |one: &skiff_registry::lifecycle::Expired| {
        let tags: Vec<&str> = one.tags.iter().map(skiff_registry::Tag::as_str).collect();
        json!({"digest": one.digest.as_str(), "tags": tags, "pushedAt": time(one.at), "rulePriority": one.rule})
    };
    let items: Vec<Value> = expired.iter().map(one).collect();
    let columns = [("DIGEST", "digest"), ("TAGS", "tags"), ("PUSHED", "pushedAt"), ("RULE", "rulePriority")];
    print(&items, &columns, "expired", form)
}

/// Bytes of a password that bcrypt looks at.
const PASSWORD_BYTES_MAX: usize = 72;

fn user_line(user: &str) -> anyhow::Result<()> {
    if user.is_empty() || user.contains([':', '\n']) {
        bail!("user \"{user}\": a name without colons and lines is needed");
    }
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password).context("read the password from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        bail!("the password has {} bytes; 1 to {PASSWORD_BYTES_MAX} are needed", password.len());
    }
    show!("{}", htpasswd::line(user, password, rand::random()))
}
