//! Files of users and passwords as htpasswd writes them, with bcrypt only, as Docker's registry takes them. Pure.

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use blowfish::Blowfish;
use skiff_authn::account::same;
use std::collections::HashMap;

/// Bcrypt reads no more of a password.
const PASSWORD_BYTES_MAX: usize = 72;
/// A cost above this takes longer than anybody waits for a login: 2^15 rounds are about two seconds.
const COST_MAX: u32 = 15;
/// What we make hashes with: htpasswd's is 5, which is cheap to guess.
const COST: u32 = 10;

/// Bcrypt's own alphabet, without padding; the last character of a salt has bits that nobody uses.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A password's hash.
#[derive(Debug, Clone)]
struct Hash {
    cost: u32,
    salt: [u8; 16],
    /// Its 31 last characters.
    text: String,
}

/// Users and their passwords.
#[derive(Debug, Clone, Default)]
pub struct Htpasswd {
    users: HashMap<String, Hash>,
}

impl Htpasswd {
    /// Reads a file.
    ///
    /// # Errors
    /// A line that is none of a user, or whose hash is not bcrypt's; with the line's number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |reason: &str| format!("line {}: {reason}", index + 1);
            let (user, hash) = line.split_once(':').ok_or_else(|| bad("expected USER:HASH"))?;
            users.insert(user.to_owned(), Hash::parse(hash).map_err(bad)?);
        }
        Ok(Self { users })
    }

    /// Whether this is the password of that user. Takes as long for a user who is not there.
    #[must_use]
    pub fn knows(&self, user: &str, password: &str) -> bool {
        let nobody = Hash { cost: COST, salt: [0; 16], text: String::new() };
        let hash = self.users.get(user).unwrap_or(&nobody);
        let made = bcrypt(hash.cost, &hash.salt, password);
        same(made.as_bytes(), hash.text.as_bytes())
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const NOT: &str =
            "only bcrypt hashes ($2y$…) are taken; make one with `htpasswd -B` or `skiff registry htpasswd`";
        let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix)).ok_or(NOT)?;
        let (cost, rest) = rest.split_once('$').ok_or(NOT)?;
        let cost =
            cost.parse().ok().filter(|cost| (4..=COST_MAX).contains(cost)).ok_or("bcrypt's cost is not 4 to 15")?;
        let (salt, hash) = rest.split_at_checked(22).ok_or(NOT)?;
        let salt = BASE64.decode(salt).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NOT)?;
        if hash.len() != 31 || BASE64.decode(hash).is_err() {
            return Err(NOT);
        }
        Ok(Self { cost, salt, text: hash.to_owned() })
    }
}

/// A line of such a file.
#[must_use]
pub fn line(user: &str, password: &str, salt: [u8; 16]) -> String {
    format!("{user}:$2y${COST:02}${}{}", BASE64.encode(salt), bcrypt(COST, &salt, password))
}

/// Bcrypt (Provos and Mazières, 1999): its 31 characters.
fn bcrypt(cost: u32, salt: &[u8; 16], password: &str) -> String {
    let mut key: Vec<u8> = password.bytes().take_while(|byte| *byte != 0).chain([0]).collect();
    key.truncate(PASSWORD_BYTES_MAX);
    let mut state = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    for _ in 0..1u32 << cost {
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let text = b"OrpheanBeholderScryDoubt";
    let mut out = Vec::with_capacity(24);
    for pair in text.chunks_exact(8) {
        let word = |at: usize| u32::from_be_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        let pair = (0..64).fold([word(0), word(4)], |pair, _| state.bc_encrypt(pair));
        out.extend(pair.iter().flat_map(|word| word.to_be_bytes()));
    }
    // The last byte was never part of the format.
    BASE64.encode(&out[..23])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_others_are_known() {
        // The first two are test vectors of crypt_blowfish, the third was made by the C library.
        let file = Htpasswd::parse(
            "# users\na:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n\
             b:$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n\n",
        )
        .unwrap();
        assert!(file.knows("a", "U*U") && file.knows("b", "U*U*"));
        assert!(!file.knows("a", "U*U*") && !file.knows("a", "") && !file.knows("c", "U*U"));
    }

    #[test]
    fn what_we_write_we_know() {
        let file = Htpasswd::parse(&line("x", "pass:word", [7; 16])).unwrap();
        assert!(file.knows("x", "pass:word") && !file.knows("x", "pass"));
    }

    #[test]
    fn other_hashes_are_refused() {
        for (line, said) in [
            ("nobody", "expected USER:HASH"),
            ("a:plain", "only bcrypt"),
            ("a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "only bcrypt"),
            ("a:$apr1$x$y", "only bcrypt"),
            ("a:$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "cost"),
            ("a:$2y$05$short", "only bcrypt"),
        ] {
            let refusal = Htpasswd::parse(line).unwrap_err();
            assert!(refusal.starts_with("line 1: ") && refusal.contains(said), "{line}: {refusal}");
        }
    }
}
