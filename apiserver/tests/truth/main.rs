//! Answers equal those of a real kube-apiserver: asked of both, or recorded before and asked of ours alone.
//!
//! `SKIFF_TRUTH` names the kubeconfig of a real server, as an administrator; its objects are not spared. `SKIFF_REQUESTS` says how
//! many random requests each kind gets, `SKIFF_SEED` which ones, `SKIFF_KINDS` of which kinds (parts of their names). `SKIFF_CASES=record`
//! writes the cases anew, `SKIFF_CASES=accept` the list of exceptions.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod access; // who may do what, by chance
mod case; // one request and what is answered
mod dice; // roles, questions and policies by chance
mod facts; // what of an answer is compared
mod kinds; // the kinds and an object of each
mod mutate; // objects that are broken
mod plan; // which requests a kind gets
mod recorded; // files of cases, and what is excepted
mod run; // asking a server
mod schema; // the real server's schemas
mod server; // the two servers

use common::World;
use kinds::Kind;
use rand::SeedableRng;
use rand::rngs::StdRng;
use recorded::{Found, Reasons};
use run::Place;
use schema::Schemas;
use server::Server;

const OURS: &str = "truth-here";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn seed(kind: &Kind) -> StdRng {
    let mark =
        kind.id().bytes().fold(number("SKIFF_SEED", 1), |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    StdRng::seed_from_u64(mark)
}

fn chosen(kind: &Kind) -> bool {
    std::env::var("SKIFF_KINDS").map_or(true, |names| names.split(',').any(|name| kind.id().contains(name)))
}

/// The cases of a kind: its object created in a dry run (the others are told by how they differ), changes of it at random, what all
/// kinds get, and its life.
fn cases(kind: &Kind, schemas: &Schemas, count: usize) -> Vec<case::Case> {
    if kind.is_document() {
        return plan::documents(&Kind::all(OURS));
    }
    let random = plan::random(kind, schemas, count, &mut seed(kind));
    if !kind.is_stored() {
        return [case::Case::new("create", "")].into_iter().chain(random).collect();
    }
    // Before there is the object, what would make it; then, what would change it.
    let (creations, changes): (Vec<_>, Vec<_>) = random.into_iter().partition(|case| case.verb.starts_with("create"));
    let mut cases = vec![case::Case::new("create", "dryRun=All")];
    cases.extend(creations);
    // Controllers within the servers write these as soon as they are there: what comes then depends on the moment.
    if matches!(&*kind.resource, "customresourcedefinitions" | "apiservices") {
        return cases;
    }
    cases.push(case::Case::new("create", ""));
    cases.extend(plan::options());
    cases.extend(changes);
    cases.extend(plan::life(kind));
    cases
}

/// Random requests to ours and to a real server: every answer is equal, or its difference is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_answers_alike() {
    let Some(real) = Server::real().await else {
        return println!(
            "SKIPPED: a_real_server_answers_alike: SKIFF_TRUTH names no kubeconfig of a real kube-apiserver"
        );
    };
    let world = World::new().await;
    let ours = Server::Ours(world.server.router());
    let namespace = format!("truth-{}", std::process::id());
    let (there, here) = (Place::new(&real, &namespace), Place::new(&ours, OURS));
    tokio::join!(there.prepare(), here.prepare());
    let mut found = Found::default();
    for kind in Kind::all(&namespace).iter().filter(|kind| chosen(kind)) {
        if !here.serves(kind).await {
            found.unserved(kind);
            continue;
        }
        let schemas = Schemas::of(kind, &real).await;
        let twin =
            Kind::all(OURS).into_iter().find(|twin| twin.id() == kind.id() && twin.name() == kind.name()).unwrap();
        tokio::join!(there.clear(kind), here.clear(&twin));
        for case in cases(kind, &schemas, number("SKIFF_REQUESTS", 20) as usize) {
            let (wanted, got) = tokio::join!(there.ask(&case, kind), here.ask(&case, &twin));
            if let (Some(wanted), Some(got)) = (wanted, got) {
                found.compare(kind, &case, &wanted, &got);
            }
        }
        tokio::join!(there.clear(kind), here.clear(&twin));
    }
    found.report("SKIFF_REPORT");
    // Rare classes are found by many requests only: this list is for reading, the recorded cases decide.
    println!("{}", found.summary());
}

/// Asks a real server all cases and writes down what it says.
#[tokio::test(flavor = "multi_thread")]
async fn record() {
    if std::env::var("SKIFF_CASES").as_deref() != Ok("record") {
        return println!("SKIPPED: record: SKIFF_CASES is not `record`");
    }
    let real = Server::real().await.expect("SKIFF_TRUTH names a kubeconfig of a real kube-apiserver");
    let namespace = format!("truth-{}", std::process::id());
    let there = Place::new(&real, &namespace);
    there.prepare().await;
    for kind in Kind::all(&namespace).iter().filter(|kind| chosen(kind)) {
        let schemas = Schemas::of(kind, &real).await;
        there.clear(kind).await;
        let mut answered = Vec::new();
        for mut case in cases(kind, &schemas, number("SKIFF_REQUESTS", 20) as usize) {
            case.facts = there.ask(&case, kind).await;
            answered.extend(case.facts.is_some().then_some(case));
        }
        there.clear(kind).await;
        recorded::write(kind, &answered);
    }
}

/// What a real server answered once, ours answers now.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers() {
    let world = World::new().await;
    let ours = Server::Ours(world.server.router());
    let here = Place::new(&ours, OURS);
    here.prepare().await;
    let mut found = Found::default();
    for kind in Kind::all(OURS).iter().filter(|kind| chosen(kind)) {
        if !here.serves(kind).await {
            found.unserved(kind);
            continue;
        }
        for case in recorded::read(kind) {
            let got = here.ask(&case, kind).await.expect("a recorded case is one");
            found.compare(kind, &case, case.facts.as_ref().unwrap(), &got);
        }
        here.clear(kind).await;
    }
    found.report("SKIFF_REPORT");
    println!("{}", found.summary());
    Reasons::check(&found);
}

/// Who may do what, what of it admission refuses, and what policies by chance make of it: `SKIFF_REQUESTS` questions of each sort.
#[tokio::test(flavor = "multi_thread")]
async fn access_by_chance_is_decided_alike() {
    let Some(real) = Server::real().await else {
        return skiff_harness::skip("SKIFF_TRUTH names no kubeconfig of a real kube-apiserver");
    };
    let world = World::new().await;
    let ours = Server::Ours(world.server.router());
    let mut dice = dice::Dice::new(number("SKIFF_SEED", 1));
    let seen = access::compare(&real, &ours, number("SKIFF_REQUESTS", 20) as usize, &mut dice).await;
    println!("{} questions, {} allowed, {} kinds of differences", seen.asked, seen.allowed, seen.different.len());
    for (class, (count, example)) in &seen.different {
        println!("{count} × {class}\n   {example}");
    }
}
