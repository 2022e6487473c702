//! What literals stand for.

use crate::syntax::ast::Literal;

/// A string or bytes token without its quotes and escapes.
pub(crate) fn unquote(token: &str, bytes: bool) -> Result<Literal, &'static str> {
    let text = token.replace("\r\n", "\n").replace('\r', "\n");
    let text = if bytes { &text[1..] } else { &text[..] };
    let (raw, text) = match text.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let quotes = if text.len() >= 6 && (text.starts_with("\"\"\"") || text.starts_with("'''")) { 3 } else { 1 };
    let inner = text.get(quotes..text.len() - quotes).ok_or("unable to unescape string")?;
    let unescaped = if raw || !inner.contains('\\') { inner.as_bytes().to_vec() } else { unescape(inner, bytes)? };
    if bytes {
        return Ok(Literal::Bytes(unescaped.into()));
    }
    String::from_utf8(unescaped).map(|text| Literal::String(text.into())).map_err(|_| "unable to unescape string")
}

fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next().ok_or("unable to unescape string, found '\\' as last character")?;
        let code = match escape {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            '\\' | '\'' | '"' | '`' | '?' => u32::from(escape),
            'x' | 'X' => digits(&mut rest, 2, 16)?,
            'u' | 'U' if bytes => return Err("unable to unescape string"),
            'u' => digits(&mut rest, 4, 16)?,
            'U' => digits(&mut rest, 8, 16)?,
            '0'..='3' => {
                let low = digits(&mut rest, 2, 8)?;
                (u32::from(escape) - u32::from('0')) * 64 + low
            }
            _ => return Err("unable to unescape string"),
        };
        if bytes {
            out.push(u8::try_from(code).map_err(|_| "unable to unescape string")?);
        } else {
            let c = char::from_u32(code).ok_or("invalid unicode code point")?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Result<u32, &'static str> {
    let mut value = 0_u32;
    for _ in 0..count {
        let digit = rest.next().and_then(|c| c.to_digit(radix)).ok_or("unable to unescape string")?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(value)
}

/// An integer token, with the sign that stands before it.
pub(crate) fn int(token: &str, negative: bool) -> Option<i64> {
    let (digits, radix) = radix(token);
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// An unsigned integer token.
pub(crate) fn uint(token: &str) -> Option<u64> {
    let (digits, radix) = radix(token.strip_suffix(['u', 'U'])?);
    u64::from_str_radix(digits, radix).ok()
}

fn radix(token: &str) -> (&str, u32) {
    token.strip_prefix("0x").map_or((token, 10), |digits| (digits, 16))
}
