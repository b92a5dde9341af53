//! Parsers of foreign bytes on the committed corpus and on what it becomes when it is spoiled. `fuzz/` has the same for
//! `cargo fuzz`.

#[path = "../../../fuzz/targets.rs"]
#[expect(unreachable_pub, reason = "the same file is a library of the fuzzer's programs")]
mod targets;

use std::path::{Path, PathBuf};

/// How many spoiled ones are made of each text of the corpus.
const MUTATIONS: u64 = 400;

/// What has broken parsers elsewhere.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"..",
    b"../",
    b"-",
    b"/",
    b"%2e",
    b"%00",
    b"\xff\xfe",
    b"\xc0\xae",
    "\u{202e}".as_bytes(),
    "\u{0301}".as_bytes(),
    b"@",
    b"{",
    b"[[[[[[[[",
    b"\"",
    b"\\ud800",
    b"1e400",
    b"-1",
    b"18446744073709551616",
    b"null",
    b"&a *a",
    b".lock",
];

/// A small generator of numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64 bits") % end.max(1)
    }
}

fn spoil(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(7) {
        0 if !bytes.is_empty() => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        1 => bytes.truncate(at),
        2 => {
            let end = (at + dice.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        3 => {
            let end = (at + dice.below(64)).min(bytes.len());
            let again = bytes[at..end].repeat(1 + dice.below(20));
            bytes.splice(at..at, again);
        }
        4 => {
            let from = dice.below(other.len() + 1);
            bytes.splice(at.., other[from..].iter().copied());
        }
        _ => {
            bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied());
        }
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a text"))).collect()
}

// Threats 3, 18, 34 and 68.
#[test]
fn no_parser_of_foreign_bytes_panics_or_takes_what_it_should_not() {
    for (target, parse) in targets::ALL {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target}");
        for (number, (path, sound)) in corpus.iter().enumerate() {
            parse(sound);
            let other = &corpus[(number + 1) % corpus.len()].1;
            for seed in 1..=MUTATIONS {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut bytes = sound.clone();
                for _ in 0..=dice.below(4) {
                    spoil(&mut bytes, other, &mut dice);
                }
                let parsed = std::panic::catch_unwind(|| parse(&bytes));
                assert!(parsed.is_ok(), "{target}: {} with seed {seed}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
            }
        }
    }
}
