//! A selector as text, which a scale has: `app=web,tier in (a,b),!old`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector};
use std::collections::BTreeSet;

/// Reads it, or says which part is none.
pub(crate) fn read(text: &str) -> Result<LabelSelector, String> {
    let parts: Result<Vec<Expression>, String> = parts(text).into_iter().map(expression).collect();
    Ok(Selector::from_iter(parts?).into())
}

/// Between commas that are not within parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn expression(part: &str) -> Result<Expression, String> {
    let owned = |text: &str| text.trim().to_owned();
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(owned(key), owned(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(owned(key), owned(value)));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(owned(key)));
    }
    let wrong = || format!("unable to parse requirement: {part:?}");
    let Some((key, rest)) = part.split_once(char::is_whitespace) else { return Ok(Expression::Exists(owned(part))) };
    let (word, list) = rest.trim().split_once('(').ok_or_else(wrong)?;
    let list = list.trim().strip_suffix(')').ok_or_else(wrong)?;
    let values: BTreeSet<String> = list.split(',').map(owned).collect();
    match word.trim() {
        "in" => Ok(Expression::In(owned(key), values)),
        "notin" => Ok(Expression::NotIn(owned(key), values)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::SelectorExt;
    use std::collections::BTreeMap;

    #[test]
    fn every_form_of_a_requirement_is_read() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "a")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let chooses = |text: &str| {
            let selector: Selector = read(text).unwrap().try_into().unwrap();
            selector.matches(&labels)
        };
        for text in ["app=web", "app==web, tier in (a,b)", "tier notin (x,y),app", "!old,app!=db", "old notin (x)", ""]
        {
            assert!(chooses(text), "{text}");
        }
        for text in ["app=db", "tier in (b)", "!app", "old", "tier notin (a)"] {
            assert!(!chooses(text), "{text}");
        }
        assert!(read("a b c").is_err() && read("a in b").is_err());
    }
}
