//! A file of tokens (`--token-auth-file`): a line each, `token,user,uid,"group1,group2"`.

use crate::account::same;
use crate::user::User;

/// The tokens of a file, with their users.
#[derive(Clone, Default)]
pub struct TokenFile(Vec<(String, User)>);

impl std::fmt::Debug for TokenFile {
    /// Leaves the tokens out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TokenFile").field(&self.0.len()).finish()
    }
}

impl TokenFile {
    /// Reads it.
    ///
    /// # Errors
    /// A line lacks a field or a quote, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<(String, User)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let fields = fields(line).ok_or_else(|| format!("line {number}: a quote is not closed"))?;
            let [token, name, uid, rest @ ..] = &fields[..] else {
                return Err(format!(
                    "line {number}: it needs at least 3 fields (token, user name, user uid), and has {}",
                    fields.len()
                ));
            };
            if token.is_empty() {
                return Err(format!("line {number}: its token is empty"));
            }
            let listed = rest.first().map_or("", String::as_str).split(',').map(str::trim);
            let groups = listed.filter(|group| !group.is_empty()).map(str::to_owned).collect();
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
            // As in a map: the last of two lines counts.
            all.retain(|(known, _)| known != token);
            all.push((token.clone(), user));
        }
        Ok(Self(all))
    }

    /// Whose `token` is. All are compared, so that the time does not tell how much of one was right.
    #[must_use]
    pub fn user(&self, token: &str) -> Option<&User> {
        let found = self.0.iter().filter(|(known, _)| same(known.as_bytes(), token.as_bytes()));
        found.fold(None, |_, (_, user)| Some(user))
    }
}

/// The fields of a line of CSV (RFC 4180); `None`: a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            letter => field.push(letter),
        }
    }
    fields.push(field.trim().to_owned());
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_a_token_is() {
        let file = TokenFile::parse("t1,u1,1\n\nt2,u2,2,\"a, b\"\r\nt3,u3,3,c\nt1,u4,4\n").unwrap();
        for (token, name, groups) in [("t1", "u4", &[][..]), ("t2", "u2", &["a", "b"]), ("t3", "u3", &["c"])] {
            let user = file.user(token).expect("there");
            assert_eq!(user.name, name);
            assert_eq!(user.groups, groups);
        }
        assert!(file.user("t").is_none() && file.user("").is_none());
        for (wrong, why) in [
            ("t,u", "line 1: it needs at least 3"),
            ("a,b,c\n,u,1", "line 2: its token"),
            ("t,u,1,\"a", "line 1: a quote"),
        ] {
            assert!(TokenFile::parse(wrong).unwrap_err().starts_with(why), "{wrong}");
        }
    }
}
