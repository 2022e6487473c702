//! Constants that no run would accept, and literals of mixed types.

use super::{Checked, Reference};
use crate::library::{check_format, compile_regex, parse_duration, parse_timestamp};
use crate::source::{Issue, Source};
use crate::syntax::ast::{Expr, Id, Kind, Literal};
use crate::types::Type;

/// Issues that upstream finds after checking types.
pub(crate) fn validate(checked: &Checked, source: &Source, offsets: &[u32]) -> Vec<Issue> {
    let mut found: Vec<(Id, String)> = Vec::new();
    checked.root.walk(&mut |expr| literal_argument(expr, &mut found));
    let mut formats: Vec<(Id, String)> = Vec::new();
    checked.root.walk(&mut |expr| format_call(checked, expr, &mut formats));
    homogeneous(checked, &checked.root, false, &mut found);
    found.extend(formats);
    let at = |id: Id| offsets.get(id as usize).map_or(0, |offset| *offset as usize);
    found.into_iter().map(|(id, message)| source.issue(at(id), message)).collect()
}

fn literal_argument(expr: &Expr, found: &mut Vec<(Id, String)>) {
    let Kind::Call { function, args, .. } = &expr.kind else { return };
    let Some(Expr { id, kind: Kind::Literal(literal) }) = args.first() else { return };
    let good = match (&**function, literal) {
        ("duration", Literal::String(text)) => parse_duration(text).is_some(),
        ("duration", _) => false,
        ("timestamp", Literal::String(text)) => parse_timestamp(text).is_some(),
        ("timestamp", Literal::Int(seconds)) => (-62_135_596_800..=253_402_300_799).contains(seconds),
        ("matches", Literal::String(pattern)) => compile_regex(pattern).is_ok(),
        _ => true,
    };
    if !good {
        found.push((*id, format!("invalid {function} argument")));
    }
}

fn format_call(checked: &Checked, expr: &Expr, found: &mut Vec<(Id, String)>) {
    let Kind::Call { function, target: Some(target), args } = &expr.kind else { return };
    if &**function != "format" || !matches!(checked.reference(expr), Some(Reference::Overloads(..))) {
        return;
    }
    if let (Kind::Literal(Literal::String(pattern)), [Expr { kind: Kind::List { elements, .. }, .. }]) =
        (&target.kind, &args[..])
    {
        found.extend(check_format(checked, expr, pattern, elements));
    }
}

/// Elements of a literal have one type; arguments of `format` need not.
fn homogeneous(checked: &Checked, expr: &Expr, exempt: bool, found: &mut Vec<(Id, String)>) {
    match &expr.kind {
        Kind::List { elements, optional } if !exempt => {
            let types = elements.iter().zip(optional).map(|(e, optional)| (e.id, unwrapped(checked, e, *optional)));
            first_mismatch(types, true, found);
        }
        Kind::Map(entries) if !exempt => {
            first_mismatch(entries.iter().map(|e| (e.key.id, checked.type_of(&e.key).clone())), false, found);
            first_mismatch(
                entries.iter().map(|e| (e.value.id, unwrapped(checked, &e.value, e.optional))),
                false,
                found,
            );
        }
        _ => {}
    }
    let exempt = exempt || matches!(&expr.kind, Kind::Call { function, .. } if &**function == "format");
    children(expr).into_iter().for_each(|child| homogeneous(checked, child, exempt, found));
}

fn unwrapped(checked: &Checked, expr: &Expr, optional: bool) -> Type {
    let of = checked.type_of(expr);
    of.optional_of().filter(|_| optional).unwrap_or(of).clone()
}

fn first_mismatch(types: impl Iterator<Item = (Id, Type)>, once: bool, found: &mut Vec<(Id, String)>) {
    let mut expected: Option<Type> = None;
    for (id, of) in types {
        match &expected {
            None => expected = Some(of),
            Some(expected) if *expected != of => {
                found.push((id, format!("expected type '{expected}' but found '{of}'")));
                if once {
                    return;
                }
            }
            Some(_) => {}
        }
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        Kind::Unknown | Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
        Kind::Select { operand, .. } => vec![operand],
        Kind::Call { target, args, .. } => target.iter().map(|target| &**target).chain(args).collect(),
        Kind::List { elements, .. } => elements.iter().collect(),
        Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
        Kind::Object { fields, .. } => fields.iter().map(|field| &field.value).collect(),
        Kind::Fold(fold) => vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result],
    }
}
