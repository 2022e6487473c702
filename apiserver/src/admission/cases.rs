//! Answers of a kube-apiserver 1.36.2 that asks nearly every plugin that is no webhook, policy or quota: what it makes of objects, or how it
//! refuses them. Lines of what is stored stand between the cases, before those that they matter to.

use super::testing::Shelf;
use super::*;
use crate::admission::configured::Current;
use serde_json::{Map, json};
use skiff_schema::{FieldValidation, decode_value};

const CASES: &str = include_str!("cases.jsonl");
/// What that server was told.
const FILE: &str = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "env=dev", strict: "env=prod,zone=z"}}
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: d, operator: Exists}]
    whitelist: [{key: d, operator: Exists}, {key: w, operator: Exists}, {key: node.kubernetes.io/memory-pressure, operator: Exists}]
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits: [{type: Namespace, qps: 1, burst: 2}]
"#;

fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admission.yaml");
    std::fs::write(&path, FILE).unwrap();
    let names = |text: &str| text.split(' ').map(str::to_owned).collect();
    let said = AdmissionPlugins {
        enabled: names(
            "AlwaysPullImages DenyServiceExternalIPs EventRateLimit ExtendedResourceToleration LimitPodHardAntiAffinityTopology \
             NamespaceAutoProvision NamespaceExists OwnerReferencesPermissionEnforcement PodNodeSelector PodTolerationRestriction \
             StorageObjectInUseProtection",
        ),
        disabled: names("ServiceAccount DefaultTolerationSeconds Priority"),
    };
    let current = Current::default();
    current.introduce(&AdmissionFile::read(&path).unwrap(), Chosen::of(&said).unwrap()).unwrap();
    Setting::new(Arc::clone(Catalog::builtin()), current.get(), Arc::default())
}

async fn admitted(shelf: &Shelf, case: &Value) -> Result<Value, Status> {
    let plural = case["plural"].as_str().unwrap();
    let mut object = case["object"].clone();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let all = Catalog::builtin().resources().iter();
    let resource = all.filter(|resource| resource.plural == plural).find(|resource| resource.version == "v1").unwrap();
    let decoded = decode_value(resource, object, &[], FieldValidation::Strict).unwrap();
    object = decoded.object;
    let old = Some(&case["old"]).filter(|old| old.is_object());
    let (verb, operation) = if old.is_some() { ("update", Operation::Update) } else { ("create", Operation::Create) };
    let namespace = case["namespace"].as_str().unwrap();
    let mut request = Request::own(verb, &Target { resource, namespace, name: &name });
    request.options.run = crate::request::Run::Dry;
    let setting = setting();
    let seen = Attributes { name: &name, old, setting: &setting, ..Attributes::new(&request, operation, shelf) };
    mutate(&seen, &mut object).await?;
    validate(&seen, &object).await?;
    Ok(object)
}

/// The parts of an object that were recorded; of containers and volumes only when their images are pulled.
fn shown(object: &Value, answer: &Map<String, Value>) -> Value {
    let part = |path: &String| match path.as_str() {
        "/spec/containers" | "/spec/initContainers" => each(&object.pointer(path), "/imagePullPolicy"),
        "/spec/volumes" => each(&object.pointer(path), "/image/pullPolicy"),
        path => object.pointer(path).cloned().unwrap_or_default(),
    };
    answer.keys().map(|path| (path.clone(), part(path))).collect::<Map<_, _>>().into()
}

fn each(list: &Option<&Value>, path: &str) -> Value {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.pointer(path).cloned().unwrap_or_default()).collect()
}

#[tokio::test]
async fn plugins_do_what_kubernetes_does() {
    let (mut shelf, mut cases, mut wrong) = (Shelf::default(), 0, Vec::new());
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if let Some(plural) = case["stored"].as_str() {
            shelf = shelf.with(plural, case["namespace"].as_str().unwrap(), case["object"].clone());
            continue;
        }
        cases += 1;
        let found = match admitted(&shelf, &case).await {
            Ok(object) => json!({"answer": shown(&object, case["answer"].as_object().unwrap_or(&Map::new()))}),
            Err(status) => json!({"refused": status.message, "code": status.code.as_u16()}),
        };
        let expected = match case["refused"].is_string() {
            true => json!({"refused": case["refused"], "code": case["code"]}),
            false => json!({"answer": case["answer"]}),
        };
        if found != expected {
            wrong.push(format!("{line}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases, 88);
}
