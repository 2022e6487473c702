//! Makes `src/builtin/table.txt`: the facts about the definitions of all stable kinds.
//!
//! `cargo run -p skiff-schema --example table -- OPENAPI_V3_FOLDER GO_FOLDER > apiserver/schema/src/builtin/table.txt`
//!
//! The first folder holds Kubernetes' published OpenAPI documents, one a group-version. The second holds its Go packages as
//! `k8s.io` lays them out (`api/core/v1`, `apimachinery/pkg/apis/meta/v1`): struct tags say how a field is spelled on the wire and
//! whether its zero value says something. The form of the table is described in `src/builtin.rs`.

#[path = "table/go.rs"]
mod go;
#[path = "table/row.rs"]
mod row;

use crate::go::Package;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(documents), Some(packages)) = (arguments.next(), arguments.next()) else {
        return Err("usage: table OPENAPI_V3_FOLDER GO_FOLDER".into());
    };
    let definitions = read(Path::new(&documents))?;
    print!("{}", table(&definitions, Path::new(&packages))?);
    Ok(())
}

/// All schemas of the stable group-versions, by name.
fn read(folder: &Path) -> Done<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !["__v1_openapi.json", "__v2_openapi.json"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let document: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
        all.extend(schemas);
    }
    Ok(all)
}

fn table(definitions: &BTreeMap<String, Value>, packages: &Path) -> Done<String> {
    let mut table = String::new();
    let mut current: Option<(&str, Package)> = None;
    for (name, schema) in definitions {
        let (package, kind) = name.rsplit_once('.').ok_or("a definition without a package")?;
        if current.as_ref().is_none_or(|(name, _)| *name != package) {
            let read = Package::read(&packages.join(folder(package)))?;
            table += format!("@{} {package} {}", row::alias(package), group(package, definitions)).trim_end();
            table.push('\n');
            current = Some((package, read));
        }
        let Some((_, package_read)) = &current else { continue };
        if row::special(name).is_none() {
            table += &row::of(kind, package, schema, package_read)?;
            if kind == "OwnerReference" {
                table += PARTIAL;
            }
        }
    }
    Ok(table)
}

/// Kinds that stand in no document, because every kind may be answered as them.
const PARTIAL: &str = "PartialObjectMetadata kind\n apiVersion string\n kind string\n metadata ObjectMeta 1 +\n\
    PartialObjectMetadataList kind\n apiVersion string\n items []PartialObjectMetadata 2 !\n kind string\n metadata ListMeta 1 +\n";

/// The API group whose kinds a package defines; empty for the core group and for what belongs to no group.
fn group<'a>(package: &str, definitions: &'a BTreeMap<String, Value>) -> &'a str {
    let of_package = definitions.iter().filter(|(name, _)| name.rsplit_once('.').is_some_and(|(it, _)| it == package));
    let kinds = of_package.filter_map(|(_, schema)| schema["x-kubernetes-group-version-kind"].as_array());
    let mut single = kinds.filter(|kinds| kinds.len() == 1).filter_map(|kinds| kinds[0]["group"].as_str());
    single.next().unwrap_or_default()
}

/// `io.k8s.api.core.v1` → `api/core/v1`: packages of `k8s.io` by their names in definitions.
fn folder(package: &str) -> String {
    package.trim_start_matches("io.k8s.").replace('.', "/")
}

/// The properties of a schema.
fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}
