//! Passwords, hashed as etcd hashes them (bcrypt), so that users move here and back with their passwords.

use blowfish::Blowfish;
use rand::Rng;

/// Bcrypt reads no more of a password, and etcd takes none that is longer.
pub(crate) const PASSWORD_BYTES_MAX: usize = 72;
/// What etcd makes hashes with.
pub(crate) const COST: u32 = 10;
/// The costs that bcrypt has.
pub(crate) const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// Bcrypt's own alphabet.
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SALT_CHARS: usize = 22;

/// A hash, in bcrypt's form; what has not that form is nobody's password.
pub(crate) type Hashed = Vec<u8>;

/// Hashes a password with a new salt. Takes as long as it is meant to take: some hundredths of a second with the usual cost.
pub(crate) fn hash(password: &str, cost: u32) -> Hashed {
    let salt: [u8; 16] = rand::rng().random();
    format!("$2a${cost:02}${}{}", encoded(&salt), bcrypt(cost, &salt, password)).into_bytes()
}

/// Whether that is the password.
pub(crate) fn matches(hashed: &[u8], password: &str) -> bool {
    let Some((cost, salt, hash)) = parsed(hashed) else { return false };
    let made = bcrypt(cost, &salt, password);
    // Every byte is looked at, so that the time tells nothing.
    made.len() == hash.len() && made.bytes().zip(hash).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

fn parsed(hashed: &[u8]) -> Option<(u32, [u8; 16], &[u8])> {
    let rest = [b"$2a$", b"$2b$", b"$2y$"].iter().find_map(|prefix| hashed.strip_prefix(&prefix[..]))?;
    let cost = std::str::from_utf8(rest.get(..2)?).ok()?.parse().ok().filter(|cost| COSTS.contains(cost))?;
    let (salt, hash) = rest.get(2..)?.strip_prefix(b"$")?.split_at_checked(SALT_CHARS)?;
    Some((cost, decoded(salt)?.try_into().ok()?, hash))
}

/// Six bits a character, the first first; the last character of a salt has bits that nobody uses.
fn encoded(bytes: &[u8]) -> String {
    let bits = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let chars = (bytes.len() * 8).div_ceil(6);
    (0..chars)
        .map(|char| (0..6).fold(0, |value, bit| value << 1 | bits(char * 6 + bit)))
        .map(|value| char::from(ALPHABET[usize::from(value)]))
        .collect()
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    of_alphabet(text, ALPHABET)
}

fn of_alphabet(text: &[u8], alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let values: Option<Vec<usize>> = text.iter().map(|char| alphabet.iter().position(|known| known == char)).collect();
    let values = values?;
    let bit = |at: usize| (values[at / 6] >> (5 - at % 6) & 1) as u8;
    Some((0..text.len() * 6 / 8).map(|byte| (0..8).fold(0, |value, at| value << 1 | bit(byte * 8 + at))).collect())
}

/// What a client hashed itself comes in base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let unpadded = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - unpadded.len() > 2 {
        return None;
    }
    of_alphabet(unpadded.as_bytes(), ALPHABET)
}

/// Bcrypt (Provos and Mazières, 1999): its 31 characters.
fn bcrypt(cost: u32, salt: &[u8; 16], password: &str) -> String {
    let mut key: Vec<u8> = password.bytes().chain([0]).collect();
    key.truncate(PASSWORD_BYTES_MAX);
    let mut state = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    for _ in 0..1_u64 << cost {
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let mut out = Vec::with_capacity(24);
    for pair in b"OrpheanBeholderScryDoubt".chunks_exact(8) {
        let word = |at: usize| u32::from_be_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        let pair = (0..64).fold([word(0), word(4)], |pair, _| state.bc_encrypt(pair));
        out.extend(pair.iter().flat_map(|word| word.to_be_bytes()));
    }
    // The last byte was never part of the format.
    encoded(&out[..23])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_others_are_known() {
        // Test vectors of crypt_blowfish.
        for (hashed, password) in [
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"),
        ] {
            assert!(matches(hashed.as_bytes(), password));
            assert!(!matches(hashed.as_bytes(), "U*"));
        }
        for none in ["", "$2a$05$", "$2a$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "plain"] {
            assert!(!matches(none.as_bytes(), "plain"), "{none}");
        }
    }

    #[test]
    fn what_we_hash_we_know() {
        let hashed = hash("pass", 4);
        assert_eq!(hashed.len(), 60);
        assert!(matches(&hashed, "pass") && !matches(&hashed, "Pass") && !matches(&hashed, ""));
        assert_ne!(hash("pass", 4), hashed, "a salt is drawn for each");
        assert_eq!(from_base64("cGFzcw==").as_deref(), Some(&b"pass"[..]));
        assert_eq!((from_base64("cGFzcw"), from_base64("c!==")), (None, None));
    }
}
