//! What operators join: names, calls, literals, and what stands in brackets.

use super::{Parsed, Parser, Stopped};
use crate::escape::RESERVED;
use crate::syntax::ast::{Entry, Expr, FieldInit, Kind, Literal};
use crate::syntax::literal;
use crate::syntax::macros;
use crate::syntax::token::{Token, TokenKind};

const STARTS: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// What can stand after the bracket that opens a list, a map, and arguments.
const IN_LIST: &str = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const IN_MAP: &str = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
pub(super) const IN_INDEX: &str = "{'[', '{', '(', '.', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
pub(super) const IN_ARGS: &str = "{'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        match token.kind {
            TokenKind::Mark("(") => {
                self.next();
                let inner = self.within(")", |parser| {
                    let inner = parser.expr()?;
                    parser.expect_mark(")")?;
                    Ok(inner)
                })?;
                Ok(inner)
            }
            TokenKind::Mark("[") => self.list(),
            TokenKind::Mark("{") => self.map(),
            TokenKind::Mark(".") | TokenKind::Ident => self.name(),
            _ => self.literal(),
        }
    }

    fn name(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        let dot = if self.take(".").is_some() { "." } else { "" };
        let first = self.expect(TokenKind::Ident, "IDENTIFIER")?;
        if let Some(object) = self.object(dot, first)? {
            return Ok(object);
        }
        let text = self.text(first);
        if let Some(open) = self.take("(") {
            let args = self.args()?;
            if RESERVED.contains(&&*text) {
                return Ok(self.report(start, format!("reserved identifier: {text}")));
            }
            let id = self.id(open.start);
            return Ok(macros::global_call(self, id, &format!("{dot}{text}"), args));
        }
        if RESERVED.contains(&&*text) {
            return Ok(self.report(start, format!("reserved identifier: {text}")));
        }
        Ok(self.node(first.start, Kind::Ident(format!("{dot}{text}").into())))
    }

    /// `a.b.C{field: value}`, if that is what begins with `first`.
    fn object(&mut self, dot: &str, first: Token) -> Parsed<Option<Expr>> {
        let mut ahead = self.at;
        let mark = |at: usize| self.tokens.get(at).map(|token| token.kind);
        while mark(ahead) == Some(TokenKind::Mark(".")) && mark(ahead + 1) == Some(TokenKind::Ident) {
            ahead += 2;
        }
        if mark(ahead) != Some(TokenKind::Mark("{")) {
            return Ok(None);
        }
        let mut name = format!("{dot}{}", self.text(first));
        while self.take(".").is_some() {
            let part = self.next();
            name = format!("{name}.{}", self.text(part));
        }
        let open = self.next();
        let id = self.id(open.start);
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let field = self.expect(TokenKind::Ident, "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}")?;
            let colon = self.expect_mark(":")?;
            let init = self.id(colon.start);
            let value = self.expr()?;
            fields.push(FieldInit { id: init, name: self.text(field).into(), value, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect_mark("}")?;
        Ok(Some(Expr { id, kind: Kind::Object { name: name.into(), fields } }))
    }

    fn list(&mut self) -> Parsed<Expr> {
        let open = self.next();
        let id = self.id(open.start);
        let (mut elements, mut optional) = (Vec::new(), Vec::new());
        self.within("]", |parser| {
            parser.hint(IN_LIST);
            while !parser.is("]") {
                if elements.is_empty() && parser.take(",").is_some() {
                    break;
                }
                optional.push(parser.take("?").is_some());
                elements.push(parser.expr()?);
                if parser.ends_entries("]")? {
                    break;
                }
            }
            parser.expect_mark("]")
        })?;
        Ok(Expr { id, kind: Kind::List { elements, optional } })
    }

    /// Whether no further entry follows: a comma may stand before what closes them.
    fn ends_entries(&mut self, close: &str) -> Parsed<bool> {
        if self.take(",").is_some() {
            return Ok(!self.begins() && !self.is("?"));
        }
        if self.is(close) {
            return Ok(true);
        }
        let found = self.text(self.peek());
        let after = self.after().kind;
        let goes_on = matches!(after, TokenKind::Mark(mark) if mark == close || mark == ",");
        let what = if goes_on { "extraneous" } else { "mismatched" };
        Err(self.stop(&format!("{what} input '{found}' expecting {{'{close}', ','}}")))
    }

    fn map(&mut self) -> Parsed<Expr> {
        let open = self.next();
        let id = self.id(open.start);
        let mut entries = Vec::new();
        self.within("}", |parser| {
            parser.hint(IN_MAP);
            while !parser.is("}") {
                if entries.is_empty() && parser.take(",").is_some() {
                    break;
                }
                let optional = parser.take("?").is_some();
                let key = parser.expr()?;
                let colon = parser.expect_mark(":")?;
                parser.id(colon.start);
                let value = parser.expr()?;
                entries.push(Entry { key, value, optional });
                if parser.ends_entries("}")? {
                    break;
                }
            }
            parser.expect_mark("}")
        })?;
        Ok(Expr { id, kind: Kind::Map(entries) })
    }

    fn literal(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        let negative = self.is("-");
        if negative {
            self.next();
        }
        let token = self.peek();
        let text = self.text(token);
        let literal = match token.kind {
            TokenKind::Int => literal::int(&text, negative).map(Literal::Int).ok_or("invalid int literal"),
            TokenKind::Float => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                number.map(|n| Literal::Double(if negative { -n } else { n })).ok_or("invalid double literal")
            }
            TokenKind::Uint => literal::uint(&text).map(Literal::Uint).ok_or("invalid uint literal"),
            TokenKind::String => literal::unquote(&text, false),
            TokenKind::Bytes => literal::unquote(&text, true),
            TokenKind::Word("true") => Ok(Literal::Bool(true)),
            TokenKind::Word("false") => Ok(Literal::Bool(false)),
            TokenKind::Word("null") => Ok(Literal::Null),
            _ if negative => return Err(self.stop(&format!("no viable alternative at input '-{text}'"))),
            _ => return Err(self.no_start(&text)),
        };
        self.next();
        Ok(match literal {
            Ok(literal) => self.node(start, Kind::Literal(literal)),
            Err(message) => self.report(start, message.to_owned()),
        })
    }

    /// Nothing that an expression can begin with; if the token after this one can, this one is too much.
    fn no_start(&mut self, found: &str) -> Stopped {
        let ended = self.peek().kind == TokenKind::End;
        let what = if begins(self.after().kind) && !ended { "extraneous" } else { "mismatched" };
        let expected = self.hinted().unwrap_or(STARTS);
        self.stop(&format!("{what} input '{found}' expecting {expected}"))
    }

    /// Whether an expression can begin here.
    fn begins(&self) -> bool {
        begins(self.peek().kind)
    }
}

/// Whether an expression can begin with a token of that kind.
pub(super) fn begins(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Mark(mark) => matches!(mark, "[" | "{" | "(" | "." | "-" | "!"),
        TokenKind::Word(word) => word != "in",
        TokenKind::End | TokenKind::Quoted => false,
        _ => true,
    }
}
