//! Tokens to nodes, by recursive descent.
//!
//! ```text
//! expr    = binary [ "?" binary ":" expr ]
//! binary  = unary { operator unary }           by precedence
//! unary   = member | "!"+ member | "-"+ member
//! member  = primary { "." name | "." name "(" args ")" | "[" expr "]" }
//! ```
//!
//! Messages are those of the generated parser that Kubernetes uses, as far as they have one cause; it goes on after an error, this one stops.

mod primary; // names, literals, brackets

use crate::source::{Issue, Source, nowhere};
use crate::syntax::ast::{Expr, Id, Kind, Literal, Tree};
use crate::syntax::macros;
use crate::syntax::token::{Token, TokenKind, tokens};

/// Longest expression, in characters.
const LENGTH_MAX: usize = 100_000;

/// How deep rules of the grammar may nest.
const DEPTH_MAX: usize = 250;

/// Parsing stopped; the issue is noted.
pub(super) struct Stopped;

type Parsed<T> = Result<T, Stopped>;

/// Rules whose nesting is bounded.
#[derive(Clone, Copy)]
enum Rule {
    Expr,
    Relation,
    Calc,
    Member,
}

pub(super) struct Parser<'s> {
    source: &'s Source,
    tokens: Vec<Token>,
    at: usize,
    pub(super) offsets: Vec<u32>,
    issues: Vec<Issue>,
    depth: [usize; 4],
    /// What closes the brackets that are open.
    open: Vec<&'static str>,
    /// What else can stand at a token.
    hint: Option<(usize, &'static str)>,
}

/// Parses an expression and expands its macros.
pub(crate) fn parse(source: &Source) -> Tree {
    if source.chars.len() > LENGTH_MAX {
        let length = source.chars.len();
        let message = format!("expression code point size exceeds limit: size: {length}, limit {LENGTH_MAX}");
        return Tree { root: Expr { id: 0, kind: Kind::Unknown }, offsets: vec![0], issues: vec![nowhere(message)] };
    }
    let (tokens, issues) = tokens(source);
    let mut parser =
        Parser { source, tokens, at: 0, offsets: vec![0], issues, depth: [0; 4], open: Vec::new(), hint: None };
    let root = parser.whole().unwrap_or(Expr { id: 0, kind: Kind::Unknown });
    Tree { root, offsets: parser.offsets, issues: parser.issues }
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<Expr> {
        let root = self.expr()?;
        self.expect(TokenKind::End, "<EOF>")?;
        Ok(root)
    }

    // Nodes.

    pub(super) fn id(&mut self, offset: usize) -> Id {
        self.offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
        u32::try_from(self.offsets.len() - 1).unwrap_or(u32::MAX)
    }

    fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        Expr { id: self.id(offset), kind }
    }

    pub(super) fn offset(&self, id: Id) -> usize {
        self.offsets.get(id as usize).map_or(0, |offset| *offset as usize)
    }

    pub(super) fn report(&mut self, offset: usize, message: String) -> Expr {
        let issue = self.source.issue(offset, message);
        self.issues.push(issue);
        self.node(offset, Kind::Unknown)
    }

    // Tokens.

    fn peek(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn after(&self) -> Token {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Mark(found) if found == mark)
    }

    fn take(&mut self, mark: &str) -> Option<Token> {
        self.is(mark).then(|| self.next())
    }

    fn text(&self, token: Token) -> String {
        if token.kind == TokenKind::End {
            return "<EOF>".to_owned();
        }
        self.source.chars[token.start..token.end].iter().collect()
    }

    fn stop(&mut self, message: &str) -> Stopped {
        let issue = self.source.issue(self.peek().start, format!("Syntax error: {message}"));
        self.issues.push(issue);
        Stopped
    }

    fn expect(&mut self, kind: TokenKind, shown: &str) -> Parsed<Token> {
        if self.peek().kind == kind {
            return Ok(self.next());
        }
        let found = self.text(self.peek());
        let message = if self.after().kind == kind && self.peek().kind != TokenKind::End {
            format!("extraneous input '{found}' expecting {shown}")
        } else if self.may_follow(shown) {
            format!("missing {shown} at '{found}'")
        } else {
            format!("mismatched input '{found}' expecting {shown}")
        };
        Err(self.stop(&message))
    }

    /// Whether the token could stand after one that is missing here.
    fn may_follow(&self, missing: &str) -> bool {
        if missing == "':'" {
            return primary::begins(self.peek().kind);
        }
        let open = match self.open.last() {
            // The bracket that is missing is still open; what is around it counts.
            Some(_) if matches!(missing, "')'" | "']'" | "'}'") => self.open.iter().rev().nth(1),
            other => other,
        };
        match self.peek().kind {
            TokenKind::End => open.is_none(),
            TokenKind::Mark(mark) => open == Some(&mark) || (open.is_some() && mark == ","),
            _ => false,
        }
    }

    /// Notes what can stand at the next token, for messages.
    fn hint(&mut self, expected: &'static str) {
        self.hint = Some((self.at, expected));
    }

    fn hinted(&self) -> Option<&'static str> {
        self.hint.filter(|(at, _)| *at == self.at).map(|(_, expected)| expected)
    }

    /// Remembers a bracket that is open, by what closes it.
    fn within<T>(&mut self, close: &'static str, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.open.push(close);
        let parsed = parse(self)?;
        self.open.pop();
        Ok(parsed)
    }

    fn expect_mark(&mut self, mark: &'static str) -> Parsed<Token> {
        self.expect(TokenKind::Mark(mark), &format!("'{mark}'"))
    }

    fn enter(&mut self, rule: Rule) -> Parsed<()> {
        self.depth[rule as usize] += 1;
        if self.depth[rule as usize] > DEPTH_MAX {
            self.issues.push(nowhere(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
            return Err(Stopped);
        }
        Ok(())
    }

    fn leave(&mut self, rule: Rule, levels: usize) {
        self.depth[rule as usize] -= levels;
    }

    // Rules.

    fn expr(&mut self) -> Parsed<Expr> {
        self.enter(Rule::Expr)?;
        let condition = self.or()?;
        let Some(mark) = self.take("?") else {
            self.leave(Rule::Expr, 1);
            return Ok(condition);
        };
        let id = self.id(mark.start);
        let yes = self.or()?;
        self.expect_mark(":")?;
        let no = self.expr()?;
        self.leave(Rule::Expr, 1);
        Ok(call(id, "_?_:_", vec![condition, yes, no]))
    }

    /// Terms of `||` and of `&&` become balanced trees, so that long ones do not nest deeply.
    fn or(&mut self) -> Parsed<Expr> {
        let mut terms = vec![self.and()?];
        let mut ids = Vec::new();
        while let Some(mark) = self.take("||") {
            terms.push(self.and()?);
            ids.push(self.id(mark.start));
        }
        Ok(balance("_||_", &mut terms.into_iter(), &ids))
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut terms = vec![self.binary(0)?];
        let mut ids = Vec::new();
        while let Some(mark) = self.take("&&") {
            terms.push(self.binary(0)?);
            ids.push(self.id(mark.start));
        }
        Ok(balance("_&&_", &mut terms.into_iter(), &ids))
    }

    /// Relations (level 0), sums (1) and products (2), each from the left.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        let rule = if level == 0 { Rule::Relation } else { Rule::Calc };
        self.enter(rule)?;
        let mut levels = 1;
        let mut left = if level == 2 { self.unary()? } else { self.binary(level + 1)? };
        while let Some(function) = operator(self.peek().kind, level) {
            self.enter(rule)?;
            levels += 1;
            let mark = self.next();
            let id = self.id(mark.start);
            let right = if level == 2 { self.unary()? } else { self.binary(level + 1)? };
            left = call(id, function, vec![left, right]);
        }
        self.leave(rule, levels);
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        for (mark, function) in [("!", "!_"), ("-", "-_")] {
            let number = matches!(self.after().kind, TokenKind::Int | TokenKind::Float);
            if !self.is(mark) || (mark == "-" && number) {
                continue;
            }
            let first = self.peek().start;
            let mut count = 0;
            while self.take(mark).is_some() {
                count += 1;
            }
            if mark == "-" && self.is("!") {
                return Err(self.stop("no viable alternative at input '-!'"));
            }
            let id = (count % 2 == 1).then(|| self.id(first));
            let operand = self.member()?;
            return Ok(match id {
                Some(id) => call(id, function, vec![operand]),
                None => operand,
            });
        }
        self.member()
    }

    fn member(&mut self) -> Parsed<Expr> {
        self.enter(Rule::Member)?;
        let mut levels = 1;
        let mut operand = self.primary()?;
        loop {
            operand = if let Some(dot) = self.take(".") {
                self.field(operand, dot.start)?
            } else if let Some(open) = self.take("[") {
                self.index(operand, open.start)?
            } else {
                self.leave(Rule::Member, levels);
                return Ok(operand);
            };
            self.enter(Rule::Member)?;
            levels += 1;
        }
    }

    fn field(&mut self, operand: Expr, dot: usize) -> Parsed<Expr> {
        let optional = self.take("?").is_some();
        let token = self.peek();
        if token.kind != TokenKind::Ident && token.kind != TokenKind::Quoted {
            let found = self.text(token);
            let message = match token.kind {
                TokenKind::Word(word) if word != "in" && !optional => {
                    format!("mismatched input '{found}' expecting IDENTIFIER")
                }
                _ if optional => format!("mismatched input '{found}' expecting {{IDENTIFIER, ESC_IDENTIFIER}}"),
                TokenKind::End => "no viable alternative at input '.'".to_owned(),
                _ => {
                    let text: String = self.source.chars[dot..token.end].iter().collect();
                    format!("no viable alternative at input '{text}'")
                }
            };
            return Err(self.stop(&message));
        }
        self.next();
        let name = self.text(token);
        if !optional && token.kind == TokenKind::Ident && self.is("(") {
            let open = self.next();
            let args = self.args()?;
            let id = self.id(open.start);
            return Ok(macros::member_call(self, id, name, operand, args));
        }
        if token.kind == TokenKind::Quoted {
            return Ok(self.report(token.start, "unsupported syntax: '`'".to_owned()));
        }
        if optional {
            let id = self.id(dot);
            let field = self.node(token.start, Kind::Literal(Literal::String(name.into())));
            return Ok(call(id, "_?._", vec![operand, field]));
        }
        Ok(self.node(dot, Kind::Select { operand: Box::new(operand), field: name.into(), test: false }))
    }

    fn index(&mut self, operand: Expr, open: usize) -> Parsed<Expr> {
        let id = self.id(open);
        let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
        if function == "_[_]" {
            self.hint(primary::IN_INDEX);
        }
        let index = self.within("]", |parser| {
            let index = parser.expr()?;
            parser.expect_mark("]")?;
            Ok(index)
        })?;
        Ok(call(id, function, vec![operand, index]))
    }

    /// Arguments and the bracket that closes them.
    fn args(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")").is_some() {
            return Ok(args);
        }
        self.hint(primary::IN_ARGS);
        self.within(")", |parser| {
            loop {
                args.push(parser.expr()?);
                if parser.take(",").is_none() {
                    break;
                }
            }
            parser.expect_mark(")")
        })?;
        Ok(args)
    }
}

fn operator(kind: TokenKind, level: usize) -> Option<&'static str> {
    let mark = match kind {
        TokenKind::Mark(mark) | TokenKind::Word(mark) => mark,
        _ => return None,
    };
    match (level, mark) {
        (0, "==") => Some("_==_"),
        (0, "!=") => Some("_!=_"),
        (0, "<") => Some("_<_"),
        (0, "<=") => Some("_<=_"),
        (0, ">") => Some("_>_"),
        (0, ">=") => Some("_>=_"),
        (0, "in") => Some("@in"),
        (1, "+") => Some("_+_"),
        (1, "-") => Some("_-_"),
        (2, "*") => Some("_*_"),
        (2, "/") => Some("_/_"),
        (2, "%") => Some("_%_"),
        _ => None,
    }
}

fn call(id: Id, function: &str, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call { function: function.into(), target: None, args } }
}

/// The operator in the middle is the root.
fn balance(function: &str, terms: &mut dyn Iterator<Item = Expr>, ids: &[Id]) -> Expr {
    if ids.is_empty() {
        return terms.next().unwrap_or(Expr { id: 0, kind: Kind::Unknown });
    }
    let middle = ids.len() / 2;
    let left = balance(function, terms, &ids[..middle]);
    let right = balance(function, terms, &ids[middle + 1..]);
    call(ids[middle], function, vec![left, right])
}
