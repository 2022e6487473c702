//! What expressions of policies and match conditions may speak of.

use skiff_cel::{CompileError, Declarations, Program, Shape, Type};
use std::sync::Arc;

/// The object before and after, the request and its namespace; parameters, the authorizer and patches where there are some.
#[derive(Debug, Clone)]
pub(crate) struct Environment(Declarations);

/// What an expression must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A condition, a validation.
    Bool,
    /// A message.
    Text,
    /// The value of an audit annotation.
    TextOrNull,
    /// An apply configuration.
    Configuration,
    /// The operations of a JSON Patch.
    Patches,
    /// A variable.
    Anything,
}

impl Wanted {
    fn types(self) -> Vec<Type> {
        match self {
            Self::Bool => vec![Type::Bool],
            Self::Text => vec![Type::String],
            Self::TextOrNull => vec![Type::String, Type::Null],
            Self::Configuration => vec![Type::object("Object")],
            Self::Patches => vec![Type::list(Type::object("JSONPatch"))],
            Self::Anything => Vec::new(),
        }
    }

    /// Why an expression of this type is not what is wanted.
    fn problem(self, got: &Type) -> Option<String> {
        let types = self.types();
        if types.is_empty() || types.contains(got) {
            return None;
        }
        let wanted = match &types[..] {
            [one] => shown(one),
            many => format!("one of [{}]", many.iter().map(shown).collect::<Vec<_>>().join(" ")),
        };
        Some(format!("must evaluate to {wanted} but got {}", shown(got)))
    }
}

/// A type by the name that values have at run time.
fn shown(of: &Type) -> String {
    match of {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::List(element) => format!("list({})", shown(element)),
        Type::Map(both) => format!("map({}, {})", shown(&both.0), shown(&both.1)),
        other => other.to_string(),
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::with_params(false)
    }
}

/// The type that holds a policy's variables.
const VARIABLES: &str = "kubernetes.variables";

impl Environment {
    /// Of a policy with parameters or without.
    pub(crate) fn with_params(has_params: bool) -> Self {
        let declarations = request(Declarations::new().dynamic("object").dynamic("oldObject"));
        Self(if has_params { declarations.dynamic("params") } else { declarations })
    }

    /// Of objects of known kinds, for warnings about types.
    pub(crate) fn typed(object: &Arc<Shape>, params: Option<&Arc<Shape>>, has_params: bool) -> Self {
        let typed = |declarations: Declarations, name: &str, shape: &Arc<Shape>| match shape.is_visible() {
            true => declarations.schema(name, &format!("{name}Type"), shape),
            false => declarations.dynamic(name),
        };
        let declarations = typed(Declarations::new(), "object", object);
        // The same type, so that both can be compared.
        let declarations = match object.is_visible() {
            true => declarations.schema("oldObject", "objectType", object),
            false => declarations.dynamic("oldObject"),
        };
        let declarations = match params {
            Some(params) => typed(declarations, "params", params),
            None if has_params => declarations.dynamic("params"),
            None => declarations,
        };
        let declarations = request(declarations);
        Self(declarations.variable("authorizer", Type::object("kubernetes.authorization.Authorizer")))
    }

    /// The same with `authorizer`.
    pub(crate) fn with_authorizer(self) -> Self {
        let declarations = self.0.variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
        let check = Type::object("kubernetes.authorization.ResourceCheck");
        Self(declarations.variable("authorizer.requestResource", check))
    }

    /// The same with what makes patches.
    pub(crate) fn with_patches(self) -> Self {
        Self(self.0.patches())
    }

    /// The same with variables of these types.
    pub(crate) fn with_variables(&self, types: &[(&str, Type)]) -> Self {
        let declarations = self.0.clone().object(VARIABLES, types);
        Self(declarations.variable("variables", Type::object(VARIABLES)))
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Why it is refused, as Kubernetes says it.
    pub(crate) fn compile(&self, text: &str, wanted: Wanted) -> Result<Program, String> {
        let program = skiff_cel::compile(&self.0, text).map_err(|error| match &error {
            CompileError::Invalid { .. } => format!("compilation failed: {error}"),
            CompileError::Constant { output, .. } => {
                wanted.problem(output).unwrap_or_else(|| format!("program instantiation failed: {error}"))
            }
        })?;
        match wanted.problem(program.output()) {
            Some(problem) => Err(problem),
            None => Ok(program),
        }
    }

    /// Only checks: why an expression does not fit.
    pub(crate) fn check(&self, text: &str) -> Result<Type, String> {
        skiff_cel::compile(&self.0, text).map(|program| program.output().clone()).map_err(|error| error.to_string())
    }
}

/// Declares `request` and `namespaceObject`.
fn request(declarations: Declarations) -> Declarations {
    let texts = |names: &[&'static str]| -> Vec<(&'static str, Type)> {
        names.iter().map(|name| (*name, Type::String)).collect()
    };
    let list = || Type::list(Type::String);
    let user = [texts(&["username", "uid"]), vec![("groups", list()), ("extra", Type::map(Type::String, list()))]];
    let of = |name: &str| Type::object(&format!("kubernetes.{name}"));
    let mut fields = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    fields.extend([
        ("kind", of("GroupVersionKind")),
        ("requestKind", of("GroupVersionKind")),
        ("resource", of("GroupVersionResource")),
        ("requestResource", of("GroupVersionResource")),
        ("userInfo", of("UserInfo")),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ]);
    let declarations = declarations
        .object("kubernetes.GroupVersionKind", &texts(&["group", "version", "kind"]))
        .object("kubernetes.GroupVersionResource", &texts(&["group", "version", "resource"]))
        .object("kubernetes.UserInfo", &user.concat())
        .object("kubernetes.AdmissionRequest", &fields);
    namespace(declarations).variable("request", of("AdmissionRequest")).variable("namespaceObject", of("Namespace"))
}

fn namespace(declarations: Declarations) -> Declarations {
    let of = |name: &str| Type::object(&format!("kubernetes.{name}"));
    let texts = || Type::map(Type::String, Type::String);
    let metadata = [
        ("name", Type::String),
        ("generateName", Type::String),
        ("namespace", Type::String),
        ("labels", texts()),
        ("annotations", texts()),
        ("UID", Type::String),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", Type::String),
        ("finalizers", Type::list(Type::String)),
    ];
    let condition = [
        ("status", Type::String),
        ("type", Type::String),
        ("lastTransitionTime", Type::Timestamp),
        ("message", Type::String),
        ("reason", Type::String),
    ];
    let status = [("conditions", Type::list(of("NamespaceCondition"))), ("phase", Type::String)];
    declarations
        .object("kubernetes.NamespaceMetadata", &metadata)
        .object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))])
        .object("kubernetes.NamespaceCondition", &condition)
        .object("kubernetes.NamespaceStatus", &status)
        .object(
            "kubernetes.Namespace",
            &[("metadata", of("NamespaceMetadata")), ("spec", of("NamespaceSpec")), ("status", of("NamespaceStatus"))],
        )
}
