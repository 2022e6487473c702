//! Types of all parts of an expression, and which overloads its calls mean.

mod assign; // what may stand for what
mod literals; // constants that no run would accept

use crate::declarations::Declarations;
use crate::library::{self, Function, Overload};
use crate::source::{Issue, Source};
use crate::syntax::ast::{Expr, FieldInit, Fold, Id, Kind, Literal, Tree};
use crate::types::Type;
use assign::Mapping;
pub(crate) use literals::validate;

/// What a name or call means.
#[derive(Debug, Clone)]
pub(crate) enum Reference {
    /// A variable.
    Variable,
    /// A type as a value.
    Type(Type),
    /// Overloads that may be meant; which one, arguments of unknown type decide at run time.
    Overloads(&'static Function, Vec<&'static Overload>),
}

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) root: Expr,
    pub(crate) types: Vec<Type>,
    pub(crate) references: Vec<Option<Reference>>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id as usize).unwrap_or(&Type::Error)
    }

    pub(crate) fn reference(&self, expr: &Expr) -> Option<&Reference> {
        self.references.get(expr.id as usize)?.as_ref()
    }
}

struct Checker<'d> {
    declarations: &'d Declarations,
    source: &'d Source,
    offsets: Vec<u32>,
    issues: Vec<Issue>,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    locals: Vec<(Box<str>, Type)>,
    mapping: Mapping,
    variables: usize,
}

/// Checks a tree without issues.
///
/// # Errors
/// The issues found.
pub(crate) fn check(
    declarations: &Declarations,
    source: &Source,
    tree: Tree,
) -> Result<(Checked, Vec<u32>), Vec<Issue>> {
    let size = tree.offsets.len();
    let mut checker = Checker {
        declarations,
        source,
        offsets: tree.offsets,
        issues: tree.issues,
        types: vec![None; size],
        references: vec![None; size],
        locals: Vec::new(),
        mapping: Mapping::default(),
        variables: 0,
    };
    let mut root = tree.root;
    checker.expr(&mut root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let mapping = checker.mapping;
    let types = checker.types.into_iter().map(|of| of.map_or(Type::Error, |of| mapping.substitute(&of, true)));
    Ok((Checked { root, types: types.collect(), references: checker.references }, checker.offsets))
}

impl Checker<'_> {
    fn issue(&mut self, id: Id, message: String) {
        let offset = self.offsets.get(id as usize).map_or(0, |offset| *offset as usize);
        self.issues.push(self.source.issue(offset, message));
    }

    fn set(&mut self, id: Id, of: Type) {
        if let Some(slot) = self.types.get_mut(id as usize) {
            *slot = Some(of);
        }
    }

    fn refer(&mut self, id: Id, to: Reference) {
        if let Some(slot) = self.references.get_mut(id as usize) {
            *slot = Some(to);
        }
    }

    fn get(&self, expr: &Expr) -> Type {
        self.types.get(expr.id as usize).cloned().flatten().unwrap_or(Type::Error)
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.issue(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
        self.set(id, Type::Error);
    }

    fn new_variable(&mut self) -> Type {
        let name = format!("_var{}", self.variables);
        self.variables += 1;
        Type::Param(name.into())
    }

    /// A variable or the name of a type.
    fn lookup(&self, name: &str) -> Option<(Type, Reference)> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, of)) = self.locals.iter().rev().find(|(known, _)| &**known == name) {
            return Some((of.clone(), Reference::Variable));
        }
        if let Some(of) = self.declarations.find(name) {
            return Some((of.clone(), Reference::Variable));
        }
        let named = if self.declarations.has_object(name) { Type::object(name) } else { standard_type(name)? };
        Some((Type::Type(Some(named.clone().into())), Reference::Type(named)))
    }

    fn expr(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Unknown => self.set(id, Type::Error),
            Kind::Literal(literal) => {
                let of = literal_type(literal);
                self.set(id, of);
            }
            Kind::Ident(name) => match self.lookup(name) {
                Some((of, to)) => {
                    self.set(id, of);
                    self.refer(id, to);
                    *name = name.strip_prefix('.').unwrap_or(name).into();
                }
                None => {
                    let name = name.clone();
                    self.undeclared(id, &name);
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List { elements, optional } => {
                let optional = optional.clone();
                let of = self.list(elements, &optional);
                self.set(id, of);
            }
            Kind::Map(_) => self.map(expr),
            Kind::Object { name, fields } => {
                let name = name.clone();
                self.object(id, &name, fields);
            }
            Kind::Fold(fold) => self.fold(id, fold),
        }
    }

    fn select(&mut self, expr: &mut Expr) {
        if let Some(name) = expr.qualified_name()
            && let Some((of, to)) = self.lookup(&name)
        {
            self.set(expr.id, of);
            self.refer(expr.id, to);
            expr.kind = Kind::Ident(name.strip_prefix('.').unwrap_or(&name).into());
            return;
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return };
        let (field, test) = (field.clone(), *test);
        let found = self.field(id, operand, &field, false);
        let of = if test { Type::Bool } else { self.mapping.substitute(&found, false) };
        self.set(id, of);
    }

    /// Type of `operand.field`.
    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.expr(operand);
        let operand = self.mapping.substitute(&self.get(operand), false);
        let (target, wrapped) = match operand.optional_of() {
            Some(of) => (of.clone(), true),
            None => (operand, false),
        };
        let found = match &target {
            Type::Map(both) => both.1.clone(),
            Type::Object(name) => self.object_field(id, name, field),
            Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            _ => {
                if !target.is_dyn_or_error() {
                    self.issue(id, format!("type '{target}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(found) } else { found }
    }

    fn object_field(&mut self, id: Id, object: &str, field: &str) -> Type {
        if !self.declarations.has_object(object) {
            self.issue(id, format!("unexpected failed resolution of '{object}'"));
            return Type::Error;
        }
        match self.declarations.field(object, field) {
            Some(of) => of,
            None => {
                self.issue(id, format!("undefined field '{field}'"));
                Type::Error
            }
        }
    }

    fn call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call { function, target, args } = &mut expr.kind else { return };
        if &**function == "_?._"
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }] = &mut args[..]
        {
            let field = field.clone();
            let found = self.field(id, operand, &field, true);
            let of = self.mapping.substitute(&found, false);
            self.set(id, of);
            if let Some(known) = library::function("_?._") {
                self.refer(id, Reference::Overloads(known, known.overloads.iter().collect()));
            }
            return;
        }
        args.iter_mut().for_each(|arg| self.expr(arg));
        if let Some(object) = target {
            if let Some(prefix) = object.qualified_name() {
                let name = format!("{prefix}.{function}");
                if let Some(known) = self.function(&name) {
                    *function = known.name.into();
                    *target = None;
                    self.resolve(id, known, None, args);
                    return;
                }
            }
            self.expr(object);
        }
        let name = function.clone();
        match self.function(&name) {
            Some(known) => {
                *function = known.name.into();
                self.resolve(id, known, target.as_deref(), args);
            }
            None => self.undeclared(id, &name),
        }
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        let name = name.strip_prefix('.').unwrap_or(name);
        library::function(name).filter(|_| name != "jsonpatch.escapeKey" || self.declarations.has_patches())
    }

    fn resolve(&mut self, id: Id, function: &'static Function, target: Option<&Expr>, args: &[Expr]) {
        let given: Vec<Type> = target.into_iter().chain(args).map(|arg| self.get(arg)).collect();
        let (mut result, mut meant) = (None::<Type>, Vec::new());
        for overload in function.overloads.iter().filter(|overload| overload.member == target.is_some()) {
            if matches!(function.name, "_&&_" | "_||_") {
                return self.logical(id, function, overload, args, &given);
            }
            let (wanted, returned) = self.instance(overload);
            if !self.mapping.all_assignable(&given, &wanted) {
                continue;
            }
            meant.push(overload);
            let returned = self.mapping.substitute(&returned, false);
            result = Some(match result {
                Some(known) if !known.is_dyn() && returned != known => Type::Dyn,
                Some(known) => known,
                None => returned,
            });
        }
        match result {
            Some(of) => {
                self.set(id, of);
                self.refer(id, Reference::Overloads(function, meant));
            }
            None => self.no_overload(id, function.name, target.is_some(), &given),
        }
    }

    fn no_overload(&mut self, id: Id, name: &str, member: bool, given: &[Type]) {
        let shown: Vec<String> = given.iter().map(|of| self.mapping.substitute(of, true).to_string()).collect();
        let signature = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.issue(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
        self.set(id, Type::Error);
    }

    /// `&&` and `||` say of each operand what is wrong with it.
    fn logical(
        &mut self,
        id: Id,
        function: &'static Function,
        overload: &'static Overload,
        args: &[Expr],
        given: &[Type],
    ) {
        let mut good = true;
        for (arg, of) in args.iter().zip(given) {
            if !self.mapping.assignable(of, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, of);
                good = false;
            }
        }
        self.set(id, if good { Type::Bool } else { Type::Error });
        self.refer(id, Reference::Overloads(function, vec![overload]));
    }

    /// Arguments and result of an overload, with variables of their own for its parameters.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        if overload.params.is_empty() {
            return (overload.args.clone(), overload.result.clone());
        }
        let fresh: Vec<(Type, Type)> =
            overload.params.iter().map(|param| (param.clone(), self.new_variable())).collect();
        let args = overload.args.iter().map(|of| assign::rename(of, &fresh)).collect();
        (args, assign::rename(&overload.result, &fresh))
    }

    fn list(&mut self, elements: &mut [Expr], optional: &[bool]) -> Type {
        let mut joined = None;
        for (element, optional) in elements.iter_mut().zip(optional) {
            self.expr(element);
            let of = self.unwrapped(element, *optional);
            joined = Some(self.join(joined, of));
        }
        let element = joined.unwrap_or_else(|| self.new_variable());
        Type::list(element)
    }

    /// The type of a value, or of what an optional one holds.
    fn unwrapped(&mut self, expr: &Expr, optional: bool) -> Type {
        let of = self.get(expr);
        if !optional {
            return of;
        }
        if let Some(inner) = of.optional_of() {
            return inner.clone();
        }
        if !of.is_dyn() {
            self.mismatch(expr.id, &Type::optional(of.clone()), &of);
        }
        of
    }

    fn map(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Map(entries) = &mut expr.kind else { return };
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.expr(&mut entry.key);
            let key = self.get(&entry.key);
            keys = Some(self.join(keys, key));
            self.expr(&mut entry.value);
            let value = self.unwrapped(&entry.value, entry.optional);
            values = Some(self.join(values, value));
        }
        let key = keys.unwrap_or_else(|| self.new_variable());
        let value = values.unwrap_or_else(|| self.new_variable());
        self.set(id, Type::map(key, value));
    }

    /// The type of elements of a literal; if they have several, it is refused later, where it may not have.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.mapping.assignable(&previous, &current) {
            return assign::most_general(previous, current);
        }
        Type::Dyn
    }

    fn object(&mut self, id: Id, name: &str, fields: &mut [FieldInit]) {
        let Some((of, _)) = self.lookup(name) else {
            return self.undeclared(id, name);
        };
        let name = name.strip_prefix('.').unwrap_or(name);
        let made = match &of {
            Type::Type(Some(inner)) if matches!(**inner, Type::Object(_)) => (**inner).clone(),
            Type::Type(Some(inner)) => {
                self.issue(id, format!("'{}' is not a message type", inner.name()));
                Type::Error
            }
            other => {
                self.issue(id, format!("'{}' is not a type", other.name()));
                Type::Error
            }
        };
        self.set(id, made);
        for field in fields {
            self.expr(&mut field.value);
            let wanted = self.object_field(field.id, name, &field.name);
            let value = self.unwrapped(&field.value, field.optional);
            if !self.mapping.assignable(&wanted, &value) {
                let name = &field.name;
                let message = format!("expected type of field '{name}' is '{wanted}' but provided type is '{value}'");
                self.issue(field.id, message);
            }
        }
    }

    fn fold(&mut self, id: Id, fold: &mut Fold) {
        self.expr(&mut fold.range);
        self.expr(&mut fold.init);
        let range = self.mapping.substitute(&self.get(&fold.range), false);
        let accu = self.get(&fold.init);
        self.locals.push((fold.accu.clone(), accu.clone()));
        let two = fold.var2.is_some();
        let (var, var2) = match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(both) => (both.0.clone(), both.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let scope = self.locals.len();
        self.locals.push((fold.var.clone(), var));
        if let Some(name) = &fold.var2 {
            self.locals.push((name.clone(), var2));
        }
        self.expr(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.expr(&mut fold.step);
        self.assert(&fold.step, &accu);
        self.locals.truncate(scope);
        self.expr(&mut fold.result);
        self.locals.truncate(scope - 1);
        let of = self.mapping.substitute(&self.get(&fold.result), false);
        self.set(id, of);
    }

    fn assert(&mut self, expr: &Expr, wanted: &Type) {
        let of = self.get(expr);
        if !self.mapping.assignable(wanted, &of) {
            self.mismatch(expr.id, wanted, &of);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// Types that expressions can name without a declaration.
fn standard_type(name: &str) -> Option<Type> {
    Some(match name {
        "list" => Type::list(Type::read("A")),
        "map" => Type::map(Type::read("A"), Type::read("B")),
        "null_type" => Type::Null,
        "type" => Type::Type(None),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "optional_type" => Type::optional(Type::Dyn),
        // Timestamps and durations have short names in schemas only: they check, and no run finds them.
        "bool" | "bytes" | "double" | "duration" | "int" | "string" | "timestamp" | "uint" | "net.IP" | "net.CIDR" => {
            Type::read(name)
        }
        _ => return None,
    })
}
