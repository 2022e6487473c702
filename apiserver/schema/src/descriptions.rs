//! The JSON schemas of the kinds, as `k8s-openapi` carries them: one map from definition name to schema, descriptions included.
//!
//! The map is several megabytes, so it is made when something is derived from it and dropped afterwards.

use k8s_openapi::api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

/// Definition name of a list's metadata.
pub(crate) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// All definitions that the resources and the auxiliary kinds reach, by name.
pub(crate) fn definitions() -> Map<String, Value> {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    add_core(&mut generator);
    add_groups(&mut generator);
    let mut definitions = generator.take_definitions(ACCURATE);
    for definition in definitions.values_mut() {
        unrequire_metadata(definition);
    }
    definitions
}

/// `take_definitions` asks whether transforms of the settings are to run; ours has none.
const ACCURATE: bool = false;

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

fn add_core(generator: &mut SchemaGenerator) {
    add::<api::core::v1::Binding>(generator);
    add::<api::core::v1::ConfigMap>(generator);
    add::<api::core::v1::Endpoints>(generator);
    add::<api::core::v1::Event>(generator);
    add::<api::core::v1::Namespace>(generator);
    add::<api::core::v1::Node>(generator);
    add::<api::core::v1::Pod>(generator);
    add::<api::core::v1::Secret>(generator);
    add::<api::core::v1::Service>(generator);
    add::<api::core::v1::ServiceAccount>(generator);
    add::<meta::DeleteOptions>(generator);
    add::<meta::ListMeta>(generator);
    add::<meta::Status>(generator);
}

fn add_groups(generator: &mut SchemaGenerator) {
    add::<api::apps::v1::Deployment>(generator);
    add::<api::apps::v1::ReplicaSet>(generator);
    add::<api::autoscaling::v1::Scale>(generator);
    add::<api::batch::v1::Job>(generator);
    add::<api::coordination::v1::Lease>(generator);
    add::<api::discovery::v1::EndpointSlice>(generator);
    add::<api::policy::v1::Eviction>(generator);
    add::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>(generator);
}

/// `k8s-openapi` calls `metadata` required because its Rust field is no option; the API does not.
fn unrequire_metadata(definition: &mut Value) {
    if let Some(required) = definition.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "metadata");
    }
}
