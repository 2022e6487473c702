//! Many objects at once: whole, in pages, chosen by label and by field, as JSON, Protobuf and Table.

use crate::Parameters;
use crate::http::{Ask, Client, JSON, PROTOBUF, TABLE};
use crate::objects::{NAMESPACE, pod};
use crate::server::Server;
use crate::table::Table;
use std::time::{Duration, Instant};

/// A page, as kubectl asks for it.
const PAGE: usize = 500;
/// How many make them at the same time.
const MAKERS: usize = 16;

async fn fill(server: &Server, objects: usize) {
    let makers = (0..MAKERS).map(|maker| {
        let connect = server.door();
        tokio::spawn(async move {
            let mut client = connect.connect().await.unwrap();
            for index in (maker..objects).step_by(MAKERS) {
                let body = pod(&format!("many-{index}"), index).to_string();
                client.must(&Ask::send("POST", format!("{NAMESPACE}/pods"), JSON, body)).await;
            }
        })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap();
    }
}

async fn whole(client: &mut Client, query: &str, accept: &'static str) -> usize {
    client.must(&Ask::get(format!("{NAMESPACE}/pods{query}"), accept)).await.len()
}

/// The token of a page, from the metadata in front of its items: to parse all of them would be most of what is measured.
fn continued(page: &[u8]) -> String {
    let head = String::from_utf8_lossy(&page[..page.len().min(2048)]).into_owned();
    let head = head.split("\"items\":").next().unwrap_or_default().to_owned();
    let token = head.split_once("\"continue\":\"").map(|(_, rest)| rest.split('"').next().unwrap_or_default());
    token.unwrap_or_default().to_owned()
}

async fn in_pages(client: &mut Client) {
    let mut token = String::new();
    loop {
        let path = format!("{NAMESPACE}/pods?limit={PAGE}&continue={token}");
        token = continued(&client.must(&Ask::get(path, JSON)).await);
        if token.is_empty() {
            return;
        }
    }
}

/// The ways to ask: name, query, form, how many at once; an empty query stands for all, `pages` for pages.
const WAYS: &[(&str, &str, &str, usize)] = &[
    ("whole, JSON", "", JSON, 1),
    ("whole, Protobuf", "", PROTOBUF, 1),
    ("whole, Table", "", TABLE, 1),
    ("in pages of 500, JSON", "pages", JSON, 1),
    ("in pages of 500, JSON, 16 connections", "pages", JSON, 16),
    ("by label (1 %), JSON", "?labelSelector=shard%3Ds7", JSON, 1),
    ("by label (1 %), JSON, 16 connections", "?labelSelector=shard%3Ds7", JSON, 16),
    ("by label (1 %), Protobuf", "?labelSelector=shard%3Ds7", PROTOBUF, 1),
    ("by field (1 %), JSON", "?fieldSelector=spec.nodeName%3Dn7", JSON, 1),
];

/// How long it takes until every client has its answer.
async fn once(clients: &[Client], query: &'static str, accept: &'static str) -> Duration {
    let begun = Instant::now();
    let asking = clients.iter().cloned().map(|mut client| {
        tokio::spawn(async move {
            if query == "pages" {
                in_pages(&mut client).await;
            } else {
                whole(&mut client, query, accept).await;
            }
        })
    });
    for asking in asking.collect::<Vec<_>>() {
        asking.await.unwrap();
    }
    begun.elapsed()
}

pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    if !WAYS.iter().any(|(what, ..)| parameters.wants(&format!("list {what}"))) {
        return;
    }
    for server in servers {
        fill(server, parameters.objects).await;
    }
    let mut clients = [Vec::new(), Vec::new()];
    for (server, clients) in servers.iter().zip(&mut clients) {
        for _ in 0..MAKERS {
            clients.push(server.connect().await);
        }
    }
    for (what, query, accept, at_once) in WAYS.iter().filter(|(what, ..)| parameters.wants(&format!("list {what}"))) {
        let mut took = [Vec::new(), Vec::new()];
        for turn in 0..=parameters.turns {
            for (clients, took) in clients.iter().zip(&mut took) {
                let time = once(&clients[..*at_once], query, accept).await;
                // The first one warms up.
                if turn > 0 {
                    took.push(time);
                }
            }
        }
        let median = took.map(|mut took| {
            took.sort_unstable();
            took[took.len() / 2]
        });
        table.times(&format!("list {} pods {what}", parameters.objects), median, 0.25);
    }
    let memory = servers.each_ref().map(Server::resident_bytes);
    table.bytes(&format!("memory, {} pods", parameters.objects), memory, 0.25);
}
