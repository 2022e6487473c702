//! Calls that are written for other expressions: `has`, comprehensions, optional mapping.

use crate::syntax::ast::{ACCUMULATOR, Expr, Fold, Id, Kind, Literal};
use crate::syntax::parse::Parser;

/// The variable of a comprehension that has no elements to name.
const UNUSED: &str = "#unused";

/// The variable that holds the list that `sortBy` sorts.
const SORTED: &str = "@__sortBy_input__";

/// What a macro cannot take, and the argument it concerns.
type Refused = (Id, String);

/// Makes nodes that stand where the macro's call stands.
struct Maker<'p, 's> {
    parser: &'p mut Parser<'s>,
    offset: usize,
}

/// `f(args)`: `has`, or a call.
pub(super) fn global_call(parser: &mut Parser<'_>, id: Id, name: &str, mut args: Vec<Expr>) -> Expr {
    if name != "has" || args.len() != 1 {
        return Expr { id, kind: Kind::Call { function: name.into(), target: None, args } };
    }
    let offset = parser.offset(id);
    let arg = args.remove(0);
    match arg.kind {
        Kind::Select { operand, field, .. } => {
            Maker { parser, offset }.node(Kind::Select { operand, field, test: true })
        }
        _ => {
            let offset = parser.offset(arg.id);
            parser.report(offset, "invalid argument to has() macro".to_owned())
        }
    }
}

/// `target.f(args)`: a comprehension, or a call.
pub(super) fn member_call(parser: &mut Parser<'_>, id: Id, name: String, target: Expr, args: Vec<Expr>) -> Expr {
    let two = args.len() >= 3;
    let known = matches!(
        (&*name, args.len()),
        ("all" | "exists" | "exists_one" | "existsOne" | "map", 2 | 3)
            | ("filter" | "optMap" | "optFlatMap" | "sortBy", 2)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4)
    );
    if !known {
        return Expr { id, kind: Kind::Call { function: name.into(), target: Some(Box::new(target)), args } };
    }
    let offset = parser.offset(id);
    let mut maker = Maker { parser, offset };
    let expanded = match &*name {
        "optMap" | "optFlatMap" => maker.optional(&name, target, args),
        "sortBy" => maker.sort_by(target, args),
        "map" | "filter" => maker.gather(&name, target, args),
        "all" | "exists" | "exists_one" | "existsOne" => maker.quantifier(&name, target, args, two),
        _ => maker.transform(&name, target, args),
    };
    expanded.unwrap_or_else(|(arg, message)| {
        let offset = parser.offset(arg);
        parser.report(offset, message)
    })
}

impl Maker<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        Expr { id: self.parser.id(self.offset), kind }
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { function: function.into(), target: None, args })
    }

    fn member(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { function: function.into(), target: Some(Box::new(target)), args })
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    fn accu(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn bool(&mut self, value: bool) -> Expr {
        self.node(Kind::Literal(Literal::Bool(value)))
    }

    fn int(&mut self, value: i64) -> Expr {
        self.node(Kind::Literal(Literal::Int(value)))
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        let optional = vec![false; elements.len()];
        self.node(Kind::List { elements, optional })
    }

    /// The same expression with nodes of its own, each in its old place.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    fn renumber(&mut self, expr: &mut Expr) {
        let offset = self.parser.offset(expr.id);
        expr.id = self.parser.id(offset);
        match &mut expr.kind {
            Kind::Unknown | Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().map(|t| &mut **t).chain(args).for_each(|part| self.renumber(part));
            }
            Kind::List { elements, .. } => elements.iter_mut().for_each(|element| self.renumber(element)),
            Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
                self.renumber(&mut entry.key);
                self.renumber(&mut entry.value);
            }),
            Kind::Object { fields, .. } => fields.iter_mut().for_each(|field| {
                field.id = self.parser.id(self.offset);
                self.renumber(&mut field.value);
            }),
            Kind::Fold(fold) => {
                let Fold { range, init, condition, step, result, .. } = &mut **fold;
                for part in [range, init, condition, step, result] {
                    self.renumber(part);
                }
            }
        }
    }

    /// `cel.bind` as optional mapping and sorting use it: the value is made once, when it is first used.
    fn bind(&mut self, name: Box<str>, value: Expr, body: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.bool(false);
        let step = self.ident(&name);
        let (var, accu) = (UNUSED.into(), name);
        self.node(Kind::Fold(Box::new(Fold {
            range,
            var,
            var2: None,
            accu,
            init: value,
            condition,
            step,
            result: body,
        })))
    }

    fn optional(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Refused> {
        let [variable, body] = two(args);
        let Kind::Ident(var) = variable.kind else {
            return Err((variable.id, format!("{name}() variable name must be a simple identifier")));
        };
        let again = self.copy(&target);
        let has = self.member("hasValue", target, Vec::new());
        let value = self.member("value", again, Vec::new());
        let bound = self.bind(var, value, body);
        let some = if name == "optMap" { self.call("optional.of", vec![bound]) } else { bound };
        let none = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![has, some, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Result<Expr, Refused> {
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Object { .. } | Kind::Unknown) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err((target.id, message.to_owned()));
        }
        let input = self.ident(SORTED);
        let keys = self.gather("map", input, args)?;
        let list = self.ident(SORTED);
        let sorted = self.member("@sortByAssociatedKeys", list, vec![keys]);
        Ok(self.bind(SORTED.into(), target, sorted))
    }

    fn fold(&mut self, range: Expr, vars: Vars, parts: [Expr; 4]) -> Expr {
        let [init, condition, step, result] = parts;
        let (var, var2) = vars;
        self.node(Kind::Fold(Box::new(Fold {
            range,
            var,
            var2,
            accu: ACCUMULATOR.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn gather(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Refused> {
        let Kind::Ident(var) = args[0].kind.clone() else {
            return Err((args[0].id, "argument is not an identifier".to_owned()));
        };
        overwrites(&args[0], &var)?;
        let variable = args.remove(0);
        let last = args.pop().unwrap_or_else(|| variable.clone());
        let (element, filter) = if name == "filter" { (variable, Some(last)) } else { (last, args.pop()) };
        let step = self.append(element, filter);
        let init = self.list(Vec::new());
        let parts = [init, self.bool(true), step, self.accu()];
        Ok(self.fold(target, (var, None), parts))
    }

    /// `accumulator + [element]`, if the filter lets it.
    fn append(&mut self, element: Expr, filter: Option<Expr>) -> Expr {
        let accu = self.accu();
        let one = self.list(vec![element]);
        let longer = self.call("_+_", vec![accu, one]);
        self.filtered(longer, filter)
    }

    fn filtered(&mut self, step: Expr, filter: Option<Expr>) -> Expr {
        match filter {
            None => step,
            Some(filter) => {
                let accu = self.accu();
                self.call("_?_:_", vec![filter, step, accu])
            }
        }
    }

    fn quantifier(&mut self, name: &str, target: Expr, mut args: Vec<Expr>, two: bool) -> Result<Expr, Refused> {
        let vars = if two { two_vars(&args)? } else { (one_var(&args[0])?, None) };
        let body = args.pop().unwrap_or(Expr { id: 0, kind: Kind::Unknown });
        let accu = self.accu();
        let (init, condition, step, result) = match name {
            "all" => {
                let condition = self.call("@not_strictly_false", vec![accu]);
                let so_far = self.accu();
                (self.bool(true), condition, self.call("_&&_", vec![so_far, body]), self.accu())
            }
            "exists" => {
                let not = self.call("!_", vec![accu]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let so_far = self.accu();
                (self.bool(false), condition, self.call("_||_", vec![so_far, body]), self.accu())
            }
            _ => {
                let one = self.int(1);
                let more = self.call("_+_", vec![accu, one]);
                let same = self.accu();
                let step = self.call("_?_:_", vec![body, more, same]);
                let (count, one) = (self.accu(), self.int(1));
                (self.int(0), self.bool(true), step, self.call("_==_", vec![count, one]))
            }
        };
        Ok(self.fold(target, vars, [init, condition, step, result]))
    }

    fn transform(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Refused> {
        let vars = two_vars(&args)?;
        let body = args.pop().unwrap_or(Expr { id: 0, kind: Kind::Unknown });
        let filter = (args.len() == 3).then(|| args.pop()).flatten();
        if name == "transformList" {
            let step = self.append(body, filter);
            let parts = [self.list(Vec::new()), self.bool(true), step, self.accu()];
            return Ok(self.fold(target, vars, parts));
        }
        let mut inserted = vec![self.accu()];
        if name == "transformMap" {
            inserted.push(self.ident(&vars.0));
        }
        inserted.push(body);
        let step = self.call("cel.@mapInsert", inserted);
        let step = self.filtered(step, filter);
        let parts = [self.node(Kind::Map(Vec::new())), self.bool(true), step, self.accu()];
        Ok(self.fold(target, vars, parts))
    }
}

/// The variables of a comprehension: of the element, or of key and value.
type Vars = (Box<str>, Option<Box<str>>);

fn two(mut args: Vec<Expr>) -> [Expr; 2] {
    let nothing = || Expr { id: 0, kind: Kind::Unknown };
    let second = args.pop().unwrap_or_else(nothing);
    [args.pop().unwrap_or_else(nothing), second]
}

fn one_var(arg: &Expr) -> Result<Box<str>, Refused> {
    let name = simple_name(arg)?;
    overwrites(arg, &name)?;
    Ok(name)
}

fn two_vars(args: &[Expr]) -> Result<Vars, Refused> {
    let (first, second) = (simple_name(&args[0])?, simple_name(&args[1])?);
    if first == second {
        return Err((args[1].id, format!("duplicate variable name: {first}")));
    }
    overwrites(&args[0], &first)?;
    overwrites(&args[1], &second)?;
    Ok((first, Some(second)))
}

fn simple_name(arg: &Expr) -> Result<Box<str>, Refused> {
    match &arg.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err((arg.id, "argument must be a simple name".to_owned())),
    }
}

fn overwrites(arg: &Expr, name: &str) -> Result<(), Refused> {
    if name == ACCUMULATOR || name == "__result__" {
        return Err((arg.id, "iteration variable overwrites accumulator variable".to_owned()));
    }
    Ok(())
}
