//! Expressions by chance, well-formed and not: nothing panics, nothing costs more than it may, the same gives the same.
//!
//! `SKIFF_FUZZ_RUNS=N` says how often (20,000 by default), `SKIFF_FUZZ_SEED=N` where chance begins.

#[path = "shared/generator.rs"]
mod generator;
#[path = "shared/world.rs"]
mod world;

use skiff_cel::CALL_COST_MAX;

/// What texts are made of, apart from blanks.
const PIECES: &str = r#"self . ( ) [ ] { } , ? : + - ! && || == in 1 0x 2.5e ' " """ b' r' \ \u00 has all map x size null true // ` é 😀 % optional Object 9223372036854775808 @"#;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn expressions_by_chance_are_answered() {
    let seed = number("SKIFF_FUZZ_SEED", 1);
    let mut generator = generator::Generator::seeded(seed);
    let worlds = world::worlds();
    for _ in 0..number("SKIFF_FUZZ_RUNS", 20_000) {
        let (at, text) = generator.next();
        let answer = worlds[at].ask(&text);
        assert_eq!(answer, worlds[at].ask(&text), "the same twice, SKIFF_FUZZ_SEED={seed}: {text}");
        // One step may go beyond the limit before it is looked at.
        let within =
            answer.cost.is_none_or(|cost| cost <= CALL_COST_MAX || answer.error.contains("cost limit exceeded"));
        assert!(within, "cost {:?}, SKIFF_FUZZ_SEED={seed}: {text}", answer.cost);
    }
}

#[test]
fn texts_by_chance_are_refused_or_answered() {
    let mut state = number("SKIFF_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0) % below
    };
    let pieces: Vec<&str> = PIECES.split(' ').chain([" ", "\n", "\t", "\0"]).collect();
    let worlds = world::worlds();
    for _ in 0..number("SKIFF_FUZZ_RUNS", 20_000) {
        let text: String = (0..1 + random(24)).map(|_| pieces[random(pieces.len())]).collect();
        let _ = worlds[0].ask(&text);
    }
}

#[test]
fn deep_and_long_expressions_are_refused_or_answered() {
    let worlds = world::worlds();
    let nested = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    for count in [10, 100, 249, 251, 10_000, 40_000] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{1: ", "}"), ("-(", ")"), ("!", ""), ("size([", "])"), ("dyn(", ")")]
        {
            let _ = worlds[0].ask(&nested(open, close, count));
        }
        let _ = worlds[0].ask(&format!("1{}", " + 1".repeat(count)));
        let _ = worlds[0].ask(&format!("true{}", " && true".repeat(count)));
        let _ = worlds[0].ask(&format!("object{}", ".a".repeat(count)));
        let _ = worlds[0].ask(&"true ? ".repeat(count));
    }
    let long = worlds[0].ask(&"1".repeat(100_001));
    assert!(long.compile.contains("expression code point size exceeds limit: size: 100001, limit 100000"));
}
