//! YAML with the line of every field, so that an error about `spec.containers[0].image` can say where that is.

use anyhow::{Context, bail};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// One object of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// The object as JSON.
    pub(crate) value: Value,
    /// Where it was read: a file's name, or `stdin`.
    pub(crate) source: String,
    /// Field path to line, 1-based: `spec.containers[0].image` → 12. The empty path is the document itself.
    lines: HashMap<String, usize>,
}

impl Document {
    /// The line of a field, or of the nearest field around it that is in the manifest.
    pub(crate) fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            let Some(cut) = path.rfind(['.', '[']) else { return self.lines.get("").copied().unwrap_or(1) };
            path = &path[..cut];
        }
    }

    /// `kind` as written.
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// `apiVersion` as written.
    pub(crate) fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    /// `metadata.name` as written.
    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// Reads the manifests at `path`: a YAML or JSON file, every such file of a folder, or standard input for `-`.
pub(crate) fn read_manifests(path: &Path) -> anyhow::Result<Vec<Document>> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        return parse(&text, "stdin");
    }
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        return parse(&text, &path.display().to_string());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    let mut files: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)));
    files.sort();
    let documents = files.iter().map(|file| read_manifests(file)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(documents.into_iter().flatten().collect())
}

/// Parses every object of `text`; a `List` is taken apart.
fn parse(text: &str, source: &str) -> anyhow::Result<Vec<Document>> {
    let nodes = MarkedYaml::load_from_str(text)
        .map_err(|error| anyhow::anyhow!("{source}, line {}: {}", error.marker().line(), error.info()))?;
    let mut documents = Vec::new();
    for node in &nodes {
        let mut lines = HashMap::new();
        let value = convert(node, "", source, &mut lines)?;
        if value.is_null() {
            continue;
        }
        let document = Document { value, source: source.to_owned(), lines };
        check(&document)?;
        documents.extend(items(document));
    }
    if documents.is_empty() {
        bail!("{source}: no object in it");
    }
    Ok(documents)
}

fn check(document: &Document) -> anyhow::Result<()> {
    let (source, line) = (&document.source, document.line(""));
    if !document.value.is_object() {
        bail!("{source}, line {line}: want an object with apiVersion, kind and metadata");
    }
    for field in ["apiVersion", "kind"] {
        match &document.value[field] {
            Value::String(text) if !text.is_empty() => {}
            Value::Null => bail!("{source}, line {line}: {field}: Required value"),
            other => {
                bail!("{source}, line {}: {field}: Invalid value: {other}: must be a string", document.line(field))
            }
        }
    }
    Ok(())
}

fn items(document: Document) -> Vec<Document> {
    let items = document.value["items"].as_array().filter(|_| document.kind() == "List").cloned();
    let Some(items) = items else { return vec![document] };
    let part = |(number, value): (usize, Value)| {
        let prefix = format!("items[{number}]");
        let own = document.lines.iter().filter_map(|(path, line)| {
            let rest = path.strip_prefix(&prefix)?;
            Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *line))
        });
        Document { value, source: document.source.clone(), lines: own.collect() }
    };
    items.into_iter().enumerate().map(part).collect()
}

fn convert(
    node: &MarkedYaml<'_>,
    path: &str,
    source: &str,
    lines: &mut HashMap<String, usize>,
) -> anyhow::Result<Value> {
    let line = node.span.start.line();
    lines.entry(path.to_owned()).or_insert(line);
    let wrong = |what: &str| anyhow::anyhow!("{source}, line {line}: {path}: {what}");
    match &node.data {
        YamlData::Value(scalar) => Ok(scalar_value(scalar).ok_or_else(|| wrong("not a number that JSON knows"))?),
        YamlData::Sequence(entries) => {
            let entries = entries.iter().enumerate();
            entries.map(|(n, entry)| convert(entry, &format!("{path}[{n}]"), source, lines)).collect()
        }
        YamlData::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let name = key_text(key).ok_or_else(|| wrong("a key must be a string"))?;
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                // The line of the key, not of a value that may begin lines later.
                lines.insert(below.clone(), key.span.start.line());
                map.insert(name, convert(value, &below, source, lines)?);
            }
            Ok(Value::Object(map))
        }
        YamlData::Tagged(_, inner) => convert(inner, path, source, lines),
        _ => Err(wrong("not a YAML value that JSON knows")),
    }
}

fn scalar_value(scalar: &Scalar<'_>) -> Option<Value> {
    match scalar {
        Scalar::Null => Some(Value::Null),
        Scalar::Boolean(value) => Some(Value::Bool(*value)),
        Scalar::Integer(value) => Some(Value::from(*value)),
        Scalar::FloatingPoint(value) => Number::from_f64(value.into_inner()).map(Value::Number),
        Scalar::String(text) => Some(Value::String(text.clone().into_owned())),
    }
}

/// Keys such as `8080:` are written without quotes, and are strings to Kubernetes.
fn key_text(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Some(text.clone().into_owned()),
        YamlData::Value(scalar) => scalar_value(scalar).map(|value| value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n    - name: a\n      image: x\n    - name: b\n      ports:\n        - containerPort: 80\n";

    #[test]
    fn every_field_has_its_line() {
        let pod = &parse(POD, "pod.yaml").unwrap()[0];
        assert_eq!(pod.line("metadata.name"), 4);
        assert_eq!(pod.line("spec.containers[1].ports[0].containerPort"), 11);
        assert_eq!(pod.line("spec.containers[0].image"), 8);
        assert_eq!(pod.line("spec.containers[1].image"), 9, "a missing field is where its object begins");
    }

    #[test]
    fn bad_text_names_file_and_line() {
        let error = parse("apiVersion: v1\nkind: [Pod\nmetadata:\n", "bad.yaml").unwrap_err().to_string();
        assert!(error.starts_with("bad.yaml, line "), "{error}");
        let error = parse("kind: Pod\n", "bad.yaml").unwrap_err().to_string();
        assert_eq!(error, "bad.yaml, line 1: apiVersion: Required value");
        assert!(parse("# nothing\n", "bad.yaml").unwrap_err().to_string().contains("no object"));
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = format!(
            "{POD}---\napiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: Pod\n    metadata: {{name: c}}\n"
        );
        let documents = parse(&text, "all.yaml").unwrap();
        assert_eq!(documents.iter().map(Document::name).collect::<Vec<_>>(), ["web", "c"]);
        assert_eq!(documents[1].line("metadata.name"), 18);
    }
}
