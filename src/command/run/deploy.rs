//! Writes an application's objects and waits until it answers, or until it is plain that it will not.

use super::objects::{self, Application, LABEL};
use super::source::Source;
use super::trouble::{Cause, Trouble, Watch};
use super::{LOOK, apply, certificate, connected, get, until};
use crate::cli::{Pull, RunArgs};
use crate::exit::Coded;
use crate::out::{complain, show, tell};
use anyhow::{Context, bail};
use http::Request;
use kube::Client;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long an application may take to be ready: its image may be large.
const READY_MAX: Duration = Duration::from_secs(300);
/// How long it may take to answer once it is.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How many lines of a container's log are shown with what is wrong with it.
const LOG_LINES: u32 = 10;

pub(super) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let (Some(word), Some(port)) = (&args.image, args.port) else { bail!("run: want an image and --port") };
    let mut source = Source::of(word, &args)?;
    let client = connected(&args.server.kubeconfig).await?;
    let named = args.name.clone().or_else(|| objects::name_of(&source.shown()));
    let name = named.with_context(|| format!("{word}: name the application with --name"))?;
    let env =
        args.env.iter().map(|pair| objects::variable(pair)).collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let mut application = Application {
        namespace: args.server.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        host: args.host.clone().unwrap_or_else(|| format!("{name}.localhost")),
        pull: match args.pull {
            Pull::Always => "Always",
            Pull::Missing => "IfNotPresent",
        },
        image: source.image(&name).await?,
        at: String::new(),
        replicas: args.replicas,
        name,
        port,
        env,
    };
    let deployed = deploy(&client, &mut application, args.listen_within).await;
    if !args.watch {
        return deployed;
    }
    told(deployed)?;
    loop {
        application.image = source.changed(&application.name, &application.image).await;
        tell!("{} changed: deploying {}", source.shown(), application.image);
        told(deploy(&client, &mut application, args.listen_within).await)?;
    }
}

/// Who watches tells what is wrong, and waits for the change that mends it.
fn told(deployed: anyhow::Result<()>) -> anyhow::Result<()> {
    match deployed {
        Err(error) if error.is::<Coded>() => {
            complain!("skiff: {}; watching for a change", crate::exit::sentence(&error));
            Ok(())
        }
        other => other,
    }
}

async fn deploy(client: &Client, application: &mut Application, listen_within: Duration) -> anyhow::Result<()> {
    application.at = jiff::Timestamp::now().to_string();
    certificate::ensure(client, application).await?;
    for (path, object) in application.objects() {
        apply(client, &path, &object).await?;
    }
    tell!("waiting for {} of {}", application.replicas, application.name);
    await_ready(client, application, listen_within).await?;
    let address = await_address(client, application).await?;
    await_answer(client, application).await?;
    show!("https://{}/", application.host)?;
    tell!("served at {address}, port 443; from the host of a node in a box: skiff up --isolated --publish 8443:443");
    Ok(())
}

/// Waits until all pods are ready, or one of them says that it will never be.
async fn await_ready(client: &Client, application: &Application, listen_within: Duration) -> anyhow::Result<()> {
    let path = application.path("apis/apps/v1", "deployments");
    let pods = format!("/api/v1/namespaces/{}/pods?labelSelector={LABEL}={}", application.namespace, application.name);
    let (began, mut watch) = (Instant::now(), Watch::default());
    while began.elapsed() < READY_MAX {
        let deployment = get(client, &path).await?.unwrap_or_default();
        if objects::is_rolled_out(&deployment) {
            return Ok(());
        }
        let list = get(client, &pods).await?.unwrap_or_default();
        let all = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let what = ((&deployment, all), (application.at.as_str(), application.port));
        if let Some(trouble) = watch.look(what.0, what.1, (began.elapsed(), listen_within)) {
            return Err(explained(client, application, &deployment, trouble).await);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{} is not ready after {} s; `skiff why` says more", application.name, READY_MAX.as_secs());
}

/// The trouble as an error, after the last words of the container it is about.
async fn explained(client: &Client, application: &Application, deployment: &Value, trouble: Trouble) -> anyhow::Error {
    if let Some(pod) = trouble.pod.as_ref().filter(|_| trouble.cause != Cause::Refused) {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?tailLines={LOG_LINES}", application.namespace);
        // A container that never began has no log; the sentence below does not need it.
        let log = match Request::get(&path).body(Vec::new()) {
            Ok(request) => client.request_text(request).await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        log.lines().for_each(|line| complain!("{pod}: {line}"));
    }
    let still = deployment["status"]["availableReplicas"].as_u64().unwrap_or_default() > 0;
    let still = if still { "; what ran before goes on serving" } else { "" };
    let message = format!("{}: {}{still}", application.name, trouble.message);
    Coded { code: trouble.cause as u8, message }.into()
}

async fn await_address(client: &Client, application: &Application) -> anyhow::Result<String> {
    let path = application.path("apis/networking.k8s.io/v1", "ingresses");
    until("no controller serves the ingress", ANSWER_MAX, async || {
        let object = get(client, &path).await?.unwrap_or_default();
        Ok(object.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str).map(str::to_owned))
    })
    .await
}

/// Whether it answers we ask it by way of the API server, which reaches it wherever we are.
async fn await_answer(client: &Client, application: &Application) -> anyhow::Result<()> {
    let path = format!("{}:http/proxy/", application.path("api/v1", "services"));
    let what = format!("{} does not answer at its port {}", application.name, application.port);
    until(&what, ANSWER_MAX, async || {
        let asked = client.request_text(Request::get(&path).body(Vec::new())?).await;
        // Whatever it answers it does; 502 to 504 are the API server's own.
        Ok(match asked {
            Ok(_) => Some(()),
            Err(kube::Error::Api(status)) if (502..=504).contains(&status.code) => None,
            Err(kube::Error::Api(_)) => Some(()),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("ask {path}"))),
        })
    })
    .await
}
