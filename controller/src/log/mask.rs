//! Masking of secrets in logs. It is a help, not a boundary: what must stay secret is not given to code that is not trusted.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use signalbox_service::secret::{ExposeSecret as _, SecretString};

/// How many bytes a secret has at least: shorter ones would mask ordinary words.
pub(crate) const SHORTEST: usize = 6;

/// Finds secrets, and what they look like in base64, in URLs and in JSON.
#[derive(Default)]
pub struct Mask {
    automaton: Option<AhoCorasick>,
    patterns: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask of {} patterns", self.patterns.len())
    }
}

impl Mask {
    /// A mask for these secrets. The configuration has seen to it that none is too short.
    pub fn of(secrets: &[SecretString]) -> Self {
        let mut patterns: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| faces(secret.expose_secret())).collect();
        patterns.retain(|pattern| pattern.len() >= SHORTEST);
        patterns.sort_unstable();
        patterns.dedup();
        // Patterns of plain bytes always make an automaton; without one, nothing would be masked, so nothing is read either.
        let automaton = AhoCorasick::new(&patterns).ok().filter(|_| !patterns.is_empty());
        Self { automaton, patterns }
    }

    /// Masks `window`, which begins outside of any secret, and tells how many of its bytes may be shown. The rest may be
    /// the beginning of a secret; it has to be given again, unmasked, with what follows it. At the `end` nothing follows.
    pub fn apply(&self, window: &mut [u8], end: bool) -> usize {
        let Some(automaton) = &self.automaton else { return window.len() };
        let found: Vec<(usize, usize)> = automaton.find_overlapping_iter(&*window).map(|found| (found.start(), found.end())).collect();
        let mut shown = if end { window.len() } else { window.len() - self.begun(window) };
        // A cut inside of a secret would leave its second half to be read alone.
        while let Some((start, _)) = found.iter().find(|(start, stop)| *start < shown && shown < *stop) {
            shown = *start;
        }
        for (start, stop) in found {
            window[start..stop].fill(b'*');
        }
        shown
    }

    /// How many bytes at the end of `window` may be the beginning of a secret.
    fn begun(&self, window: &[u8]) -> usize {
        let longest = |pattern: &Vec<u8>| (1..pattern.len()).rev().find(|length| window.ends_with(&pattern[..*length])).unwrap_or(0);
        self.patterns.iter().map(longest).max().unwrap_or(0)
    }
}

/// What a secret looks like.
fn faces(secret: &str) -> Vec<Vec<u8>> {
    let mut faces = vec![secret.as_bytes().to_vec()];
    // A secret of several lines is printed line by line.
    faces.extend(secret.lines().map(|line| line.trim().as_bytes().to_vec()));
    if let Ok(json) = serde_json::to_string(secret) {
        faces.push(json.trim_matches('"').as_bytes().to_vec());
    }
    faces.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>().into_bytes());
    faces.push(percent(secret).into_bytes());
    for lead in 0..3_usize {
        // In base64 the text depends on where in a group of three bytes the secret begins; its outermost characters
        // depend on its neighbours as well, and are left out.
        let mut padded = vec![0; lead];
        padded.extend_from_slice(secret.as_bytes());
        let tail = padded.len() % 3;
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let head = if lead == 0 { 0 } else { lead + 1 };
            let end = text.len() - usize::from(tail != 0);
            faces.extend(text.get(head..end).map(|middle| middle.as_bytes().to_vec()));
        }
    }
    faces
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask() -> Mask {
        Mask::of(&[SecretString::from("hunter2-äß/+\"x"), SecretString::from("ababab"), SecretString::from("tiny")])
    }

    /// What a reader gets who is given `text` in pieces that end at `cuts`.
    fn shown(mask: &Mask, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            if cut < at {
                continue;
            }
            let mut window = text[at..cut].to_vec();
            let length = mask.apply(&mut window, cut == text.len());
            out.extend_from_slice(&window[..length]);
            at += length;
        }
        out
    }

    // Threat 65.
    #[test]
    fn a_secret_is_masked_in_each_of_its_faces() {
        let secret = "hunter2-äß/+\"x";
        for lead in ["", "u:", "a:b"] {
            let base64 = STANDARD_NO_PAD.encode(format!("{lead}{secret} and more"));
            let text = shown(&mask(), base64.as_bytes(), &[]);
            assert!(String::from_utf8_lossy(&text).contains("************"), "{lead:?}");
        }
        for face in [secret.to_owned(), percent(secret), serde_json::to_string(secret).expect("json")] {
            let text = shown(&mask(), format!("x {face} y").as_bytes(), &[]);
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert_eq!(shown(&mask(), b"a tiny word", &[]), b"a tiny word");
    }

    proptest! {
        #[test]
        fn what_is_shown_does_not_depend_on_how_the_log_is_cut(
            words in proptest::collection::vec(prop_oneof![Just("ababab"), Just("abab"), Just("a"), Just("hunter2-äß/+\"x"), Just("hunter2"), Just("\n")], 0..12),
            mut cuts in proptest::collection::vec(0_usize..120, 0..8),
        ) {
            let text = words.concat().into_bytes();
            cuts.retain(|cut| *cut < text.len());
            cuts.sort_unstable();
            let whole = shown(&mask(), &text, &[]);
            let pieces = shown(&mask(), &text, &cuts);
            prop_assert_eq!(pieces.len(), text.len());
            prop_assert_eq!(whole, pieces);
        }
    }
}
