//! The tree of an expression, after macros.

use crate::source::Issue;

/// Number of a node; place of its offset in [`Tree::offsets`].
pub(crate) type Id = u32;

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Expr,
    /// Where each node begins, in characters.
    pub(crate) offsets: Vec<u32>,
    pub(crate) issues: Vec<Issue>,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// What stands where parsing failed.
    Unknown,
    Literal(Literal),
    Ident(Box<str>),
    Select {
        operand: Box<Expr>,
        field: Box<str>,
        test: bool,
    },
    Call {
        function: Box<str>,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List {
        elements: Vec<Expr>,
        optional: Vec<bool>,
    },
    Map(Vec<Entry>),
    Object {
        name: Box<str>,
        fields: Vec<FieldInit>,
    },
    Fold(Box<Fold>),
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A field of an object that is made.
#[derive(Debug, Clone)]
pub(crate) struct FieldInit {
    pub(crate) id: Id,
    pub(crate) name: Box<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A comprehension.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) var: Box<str>,
    pub(crate) var2: Option<Box<str>>,
    pub(crate) accu: Box<str>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

/// The variable in which macros gather; no identifier can be called so.
pub(crate) const ACCUMULATOR: &str = "@result";

impl Expr {
    /// `a.b.c` as one name, if the node is nothing else.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }

    /// Calls `visit` on every node below this one, and on it, parents first.
    pub(crate) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            Kind::Unknown | Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => operand.walk(visit),
            Kind::Call { target, args, .. } => target.iter().map(|t| &**t).chain(args).for_each(|e| e.walk(visit)),
            Kind::List { elements, .. } => elements.iter().for_each(|element| element.walk(visit)),
            Kind::Map(entries) => entries.iter().flat_map(|e| [&e.key, &e.value]).for_each(|e| e.walk(visit)),
            Kind::Object { fields, .. } => fields.iter().for_each(|field| field.value.walk(visit)),
            Kind::Fold(fold) => {
                for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    part.walk(visit);
                }
            }
        }
    }
}
