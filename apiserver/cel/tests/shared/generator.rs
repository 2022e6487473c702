//! Expressions made by chance: most of them well-typed, some not.

use std::fmt::Write;
use std::sync::LazyLock;

/// What an expression is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Int,
    Uint,
    Double,
    Bool,
    Text,
    Bytes,
    Time,
    Span,
    Ints,
    Texts,
    Doubles,
    Bools,
    TextMap,
    IntMap,
    MaybeInt,
    MaybeText,
    Quantity,
    Ip,
    Cidr,
    Url,
    Version,
    Kind,
    Dyn,
}

const ALL: [Want; 23] = [
    Want::Int,
    Want::Uint,
    Want::Double,
    Want::Bool,
    Want::Text,
    Want::Bytes,
    Want::Time,
    Want::Span,
    Want::Ints,
    Want::Texts,
    Want::Doubles,
    Want::Bools,
    Want::TextMap,
    Want::IntMap,
    Want::MaybeInt,
    Want::MaybeText,
    Want::Quantity,
    Want::Ip,
    Want::Cidr,
    Want::Url,
    Want::Version,
    Want::Kind,
    Want::Dyn,
];

/// Ways to make one, below its name: a capital in braces stands for an expression of that want, `$x` for a fresh variable.
static WAYS: LazyLock<Vec<(Want, Vec<&'static str>)>> = LazyLock::new(|| {
    let mut ways: Vec<(Want, Vec<&'static str>)> = Vec::new();
    for line in include_str!("ways.txt").lines() {
        let named = line.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        match named.and_then(|name| ALL.iter().find(|want| format!("{want:?}") == name)) {
            Some(want) => ways.push((*want, Vec::new())),
            None => ways.last_mut().expect("a name stands before the first way").1.push(line),
        }
    }
    ways
});

/// Makes expressions; the same seed makes the same ones.
pub(crate) struct Generator {
    state: u64,
    variables: u32,
    /// Names that are in scope, by the letter they were asked for with.
    scope: Vec<(char, String)>,
}

impl Generator {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, variables: 0, scope: Vec::new() }
    }

    fn random(&mut self, below: usize) -> usize {
        // xorshift64*: good enough to choose among alternatives.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % below.max(1)
    }

    /// A world's number and an expression.
    pub(crate) fn next(&mut self) -> (usize, String) {
        self.variables = 0;
        self.scope.clear();
        if self.random(12) == 0 {
            return self.elsewhere();
        }
        let depth = 1 + self.random(4);
        let want = ALL[self.random(ALL.len())];
        let want = if self.random(3) == 0 { Want::Bool } else { want };
        let text = self.expression(want, depth);
        match self.random(60) {
            0 => (0, self.spoil(text)),
            _ => (0, text),
        }
    }

    /// An expression over another world, made of whole pieces.
    fn elsewhere(&mut self) -> (usize, String) {
        let pieces: Vec<(usize, &str)> = include_str!("elsewhere.txt")
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(world, piece)| Some((world.parse().ok()?, piece)))
            .collect();
        let world = 1 + self.random(3);
        let own: Vec<&str> = pieces.into_iter().filter(|(of, _)| *of == world).map(|(_, piece)| piece).collect();
        let mut text = own[self.random(own.len())].to_owned();
        for _ in 0..self.random(4) {
            let operator = [" && ", " || ", " == ", " != "][self.random(4)];
            let piece = own[self.random(own.len())];
            text = match self.random(3) {
                0 => format!("({text}){operator}({piece})"),
                1 => format!("({text} ? {piece} : {})", own[self.random(own.len())]),
                _ => format!("{text}{operator}{piece}"),
            };
        }
        (world, text)
    }

    fn expression(&mut self, want: Want, depth: usize) -> String {
        // Now and then something of another kind, which checking refuses or a run finds out.
        let want = if self.random(120) == 0 { ALL[self.random(ALL.len())] } else { want };
        if let Some(name) = self.in_scope(want) {
            return name;
        }
        let ways = WAYS.iter().find(|(known, _)| *known == want).map_or(&[][..], |(_, ways)| ways);
        let way = loop {
            let way = ways[self.random(ways.len())];
            if depth > 0
                || !way.contains(|c: char| c.is_ascii_uppercase())
                || !way.contains('{')
                || self.random(40) == 0
            {
                break way;
            }
        };
        self.fill(way, depth.saturating_sub(1))
    }

    fn in_scope(&mut self, want: Want) -> Option<String> {
        let letters = match want {
            Want::Int => ['v', 'i', 'w'],
            Want::Text => ['s', 'k', 's'],
            _ => return None,
        };
        let known: Vec<String> =
            self.scope.iter().filter(|(letter, _)| letters.contains(letter)).map(|(_, name)| name.clone()).collect();
        if known.is_empty() || self.random(3) != 0 {
            return None;
        }
        Some(known[self.random(known.len())].clone())
    }

    fn fill(&mut self, way: &str, depth: usize) -> String {
        let scope = self.scope.len();
        let mut names: Vec<(char, String)> = Vec::new();
        let mut out = String::new();
        let mut rest = way;
        while let Some(at) = rest.find(['{', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix('$') {
                let letter = after.chars().next().unwrap_or('v');
                let name = match names.iter().find(|(known, _)| *known == letter) {
                    Some((_, name)) => name.clone(),
                    None => {
                        self.variables += 1;
                        let name = format!("{letter}{}", self.variables);
                        names.push((letter, name.clone()));
                        self.scope.push((letter, name.clone()));
                        name
                    }
                };
                out.push_str(&name);
                rest = &after[letter.len_utf8()..];
                continue;
            }
            match rest.find('}').and_then(|end| Some((wanted(&rest[1..end])?, end))) {
                Some((want, end)) => {
                    let inner = self.expression(want, depth);
                    let _ = write!(out, "{inner}");
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        self.scope.truncate(scope);
        out.push_str(rest);
        out
    }

    /// Breaks a text somewhere.
    fn spoil(&mut self, text: String) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let at = self.random(chars.len());
        match self.random(3) {
            0 => {
                chars.remove(at);
            }
            1 => chars.insert(at, ['(', ')', '.', ',', '@', ' ', '"', '+', '?', 'x'][self.random(10)]),
            _ => chars.truncate(at),
        }
        chars.into_iter().collect()
    }
}

fn wanted(name: &str) -> Option<Want> {
    Some(match name {
        "I" => Want::Int,
        "U" => Want::Uint,
        "D" => Want::Double,
        "B" => Want::Bool,
        "S" => Want::Text,
        "Y" => Want::Bytes,
        "T" => Want::Time,
        "P" => Want::Span,
        "LI" => Want::Ints,
        "LS" => Want::Texts,
        "LD" => Want::Doubles,
        "BS" => Want::Bools,
        "MS" => Want::TextMap,
        "MI" => Want::IntMap,
        "OI" => Want::MaybeInt,
        "OS" => Want::MaybeText,
        "Q" => Want::Quantity,
        "IP" => Want::Ip,
        "C" => Want::Cidr,
        "URL" => Want::Url,
        "V" => Want::Version,
        "K" => Want::Kind,
        "DYN" => Want::Dyn,
        _ => return None,
    })
}
