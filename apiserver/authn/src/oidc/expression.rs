//! Expressions over the claims of a token, and over the user that they make (CEL, in AuthenticationConfiguration).

use crate::user::User;
use serde_json::{Map, Number, Value, json};
use skiff_cel::{Activation, CALL_COST_MAX, CompileError, Declarations, Program, Type, compile};
use std::sync::Arc;

/// A compiled expression. Two are equal if they say the same.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

/// What a token or a user must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) expression: Expression,
    /// What is said of one that does not.
    pub(super) message: String,
}

/// What an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::User => "user",
        }
    }

    fn declarations(self) -> Declarations {
        let texts = || Type::list(Type::String);
        match self {
            Self::Claims => Declarations::new().variable(self.name(), Type::map(Type::String, Type::Dyn)),
            Self::User => {
                let fields = [
                    ("username", Type::String),
                    ("uid", Type::String),
                    ("groups", texts()),
                    ("extra", Type::map(Type::String, texts())),
                ];
                let name = "kubernetes.UserInfo";
                Declarations::new().object(name, &fields).variable(self.name(), Type::object(name))
            }
        }
    }
}

impl Expression {
    /// Compiles it; one that decides something must give a truth.
    pub(super) fn compile(text: &str, about: About, decides: bool) -> Result<Self, String> {
        let program = compile(&about.declarations(), text).map_err(|error| match error {
            CompileError::Invalid { shown, .. } => format!("compilation failed: {shown}"),
            CompileError::Constant { fault, .. } => format!("program instantiation failed: {fault}"),
        })?;
        if decides && *program.output() != Type::Bool {
            return Err("must evaluate to bool".to_owned());
        }
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    /// Whether it takes `claim` by its name. The checker tells: of an object without fields it names each that is asked for.
    pub(super) fn takes(&self, claim: &str) -> bool {
        let of = Type::object("claims");
        let bare = Declarations::new().object("claims", &[]).variable(About::Claims.name(), of);
        match compile(&bare, &self.text) {
            Err(CompileError::Invalid { issues, .. }) => {
                issues.iter().any(|issue| issue.message == format!("undefined field '{claim}'"))
            }
            _ => false,
        }
    }

    fn value(&self, about: About, of: &Value) -> Result<Value, String> {
        let activation = Activation::new().with(about.name(), skiff_cel::Value::json(of));
        let failed = |why: String| format!("expression '{}' resulted in error: {why}", self.text);
        let value = self.program.evaluate(&activation, CALL_COST_MAX).result;
        let value = value.map_err(|fault| failed(fault.to_string()))?;
        value.to_json().ok_or_else(|| failed(format!("a {} is of no use here", value.type_name())))
    }

    /// The text that it makes of claims.
    pub(super) fn text(&self, claims: &Value, what: &str) -> Result<String, String> {
        match self.value(About::Claims, claims)? {
            Value::String(text) => Ok(text),
            _ => Err(format!("{what} claim expression must return a string")),
        }
    }

    /// The texts that it makes of claims; empty ones are none.
    pub(super) fn texts(&self, claims: &Value) -> Result<Vec<String>, String> {
        let wrong = || "expression must return a string or a list of strings".to_owned();
        let all = match self.value(About::Claims, claims)? {
            Value::Null => Vec::new(),
            Value::String(one) => vec![one],
            Value::Array(all) => {
                let texts = all.into_iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong));
                texts.collect::<Result<_, _>>()?
            }
            _ => return Err(wrong()),
        };
        Ok(all.into_iter().filter(|one| !one.is_empty()).collect())
    }

    /// Its own text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Checks all `rules`; the first that does not hold is told.
pub(super) fn check(rules: &[Rule], about: About, of: &Value) -> Result<(), String> {
    for Rule { expression, message } in rules {
        if expression.value(about, of)? != true {
            return Err(format!("validation expression '{}' failed: {message}", expression.text));
        }
    }
    Ok(())
}

/// Claims as expressions see them: every number is one with a fraction, as in kube-apiserver.
pub(super) fn claims(said: &Map<String, Value>) -> Value {
    said.iter().map(|(name, value)| (name.clone(), with_fractions(value))).collect::<Map<_, _>>().into()
}

fn with_fractions(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        Value::Array(all) => all.iter().map(with_fractions).collect(),
        Value::Object(fields) => claims(fields),
        other => other.clone(),
    }
}

/// A user as expressions see them.
pub(super) fn of_user(user: &User) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, said: &Value) -> Result<Vec<String>, String> {
        let said = claims(said.as_object().expect("an object"));
        Expression::compile(text, About::Claims, false).expect(text).texts(&said)
    }

    #[test]
    fn claims_become_texts() {
        let said = json!({"roles": "a,b,,c", "n": 7, "list": ["x", ""], "deep": {"k": ["y"]}});
        for (text, expected) in [
            ("claims.roles.split(',')", &["a", "b", "c"][..]),
            ("'p:' + claims.deep.k[0]", &["p:y"]),
            ("claims.list", &["x"]),
            ("claims.?missing.orValue([])", &[]),
            ("has(claims.missing) ? claims.missing : ''", &[]),
            ("claims.n < 8 ? 'small' : 'large'", &["small"]),
            ("string(type(claims.n) == double)", &["true"]),
        ] {
            assert_eq!(texts(text, &said).expect(text), expected, "{text}");
        }
        for (text, why) in [
            ("claims.n", "must return a string or a list"),
            ("[claims.n]", "must return a string or a list"),
            ("claims.missing", "expression 'claims.missing' resulted in error: no such key: missing"),
            ("claims.list[9]", "resulted in error"),
        ] {
            let error = texts(text, &said).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_does_not_compile_is_refused() {
        for (text, about, why) in [
            ("claims.", About::Claims, "compilation failed: ERROR: <input>:1:8"),
            ("user.username", About::Claims, "undeclared reference to 'user'"),
            ("user.password == ''", About::User, "undefined field 'password'"),
            ("user.username", About::User, "must evaluate to bool"),
            ("claims.admin", About::Claims, "must evaluate to bool"),
        ] {
            let error = Expression::compile(text, about, true).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_that_does_not_hold_says_so() {
        let rule = |text: &str| Rule {
            expression: Expression::compile(text, About::User, true).expect(text),
            message: "no system users".to_owned(),
        };
        let rules = [rule("!user.username.startsWith('system:')"), rule("user.groups.all(g, g != 'root')")];
        let user = |name: &str, group: &str| {
            of_user(&User { name: name.to_owned(), groups: vec![group.to_owned()], ..User::default() })
        };
        assert_eq!(check(&rules, About::User, &user("u", "g")), Ok(()));
        let refused = check(&rules, About::User, &user("system:x", "g")).unwrap_err();
        assert_eq!(refused, "validation expression '!user.username.startsWith('system:')' failed: no system users");
        assert!(check(&rules, About::User, &user("u", "root")).is_err());
    }

    #[test]
    fn which_claims_an_expression_takes_is_known() {
        for (text, takes) in [
            ("claims.email", true),
            ("claims.?email.orValue('')", true),
            ("'x' + claims.email.lowerAscii()", true),
            ("claims.email_verified ? 'a' : 'b'", false),
            ("'claims.email'", false),
            ("claims.sub", false),
            ("[claims.sub].map(c, claims.email)", true),
        ] {
            assert_eq!(Expression::compile(text, About::Claims, false).expect(text).takes("email"), takes, "{text}");
        }
    }

    #[test]
    fn an_expression_without_end_is_stopped() {
        let said = json!({"l": vec![1; 2000]});
        let error = texts("[string(claims.l.all(a, claims.l.all(b, claims.l.all(c, c == 1.0))))]", &said).unwrap_err();
        assert!(error.contains("cost limit exceeded"), "{error}");
    }
}
