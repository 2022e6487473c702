//! How long typical rules take: `cargo run --release -p skiff-cel --example speed`.

use serde_json::json;
use skiff_cel::{Activation, CALL_COST_MAX, Declarations, Shape, Type, Value, compile};
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

const RULES: [&str; 5] = [
    "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas",
    "self.name.startsWith('kube-') || has(self.owner)",
    "self.containers.all(c, c.image.contains('/') && !c.image.endsWith(':latest'))",
    "self.containers.exists_one(c, c.name == 'main')",
    "object.containers.filter(c, has(c.image)).map(c, c.image).size() == 5",
];

fn main() -> std::io::Result<()> {
    let containers: Vec<_> =
        (0..5).map(|n| json!({"name": if n == 3 { "main" } else { "side" }, "image": format!("r/i:{n}")})).collect();
    let object = json!({"minReplicas": 1, "replicas": 2, "maxReplicas": 3, "name": "web", "owner": "me", "containers": containers});
    let text = json!({"type": "string"});
    let int = json!({"type": "integer"});
    let shape = Arc::new(Shape::of(
        &json!({"type": "object", "properties": {"minReplicas": int, "replicas": int, "maxReplicas": int, "name": text, "owner": text,
            "containers": {"type": "array", "items": {"type": "object", "properties": {"name": text, "image": text}}}}}),
        false,
    ));
    let declarations = Declarations::new().schema("self", "selfType", &shape).variable("object", Type::Dyn);
    let mut out = std::io::stdout().lock();
    for rule in RULES {
        let begin = Instant::now();
        for _ in 0..1000 {
            black_box(compile(&declarations, rule)).map_err(std::io::Error::other)?;
        }
        let compiled = begin.elapsed() / 1000;
        let program = compile(&declarations, rule).map_err(std::io::Error::other)?;
        let begin = Instant::now();
        let mut cost = 0;
        for _ in 0..100_000 {
            let activation = Activation::new()
                .with_result("self", Value::shaped(&object, &shape))
                .with("object", Value::json(&object));
            let run = black_box(program.evaluate(&activation, CALL_COST_MAX));
            run.result.map_err(std::io::Error::other)?;
            cost = run.cost;
        }
        let evaluated = begin.elapsed() / 100_000;
        writeln!(out, "{compiled:?} to compile, {evaluated:?} to evaluate, cost {cost}: {rule}")?;
    }
    Ok(())
}
