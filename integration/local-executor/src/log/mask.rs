//! Secrets taken out of a stream of bytes, wherever the stream is cut.

use signalbox_service::secret::{ExposeSecret as _, SecretString};

const INSTEAD: &[u8] = b"[masked]";

/// Replaces secrets in a stream. Only what may be the beginning of a secret is held back until more has come.
pub(crate) struct Mask {
    secrets: Vec<SecretString>,
    held: Vec<u8>,
}

impl Mask {
    /// A mask for these secrets; short ones are left alone, since they would blot out ordinary words.
    pub(crate) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self { secrets: secrets.into_iter().filter(|secret| secret.expose_secret().len() >= 8).collect(), held: Vec::new() }
    }

    /// Takes the next bytes, and answers what can be told now.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some(first) = self.held.get(at) {
            let rest = &self.held[at..];
            let mut candidates = self.secrets.iter().map(|secret| secret.expose_secret().as_bytes()).filter(|secret| secret[0] == *first);
            if let Some(secret) = candidates.clone().find(|secret| rest.starts_with(secret)) {
                out.extend_from_slice(INSTEAD);
                at += secret.len();
            } else if candidates.any(|secret| secret.starts_with(rest)) {
                break;
            } else {
                out.push(*first);
                at += 1;
            }
        }
        self.held.drain(..at);
        out
    }

    /// What was held back, once nothing more comes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], chunks: &[&str]) -> String {
        let mut mask = Mask::new(secrets.iter().map(|secret| SecretString::from(*secret)));
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(mask.next(chunk.as_bytes()));
        }
        out.extend(mask.rest());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_secret_is_masked_however_it_is_cut() {
        let text = "a s3cretive-word and s3cretive-wor";
        for cut in 0..text.len() {
            assert_eq!(masked(&["s3cretive-word"], &[&text[..cut], &text[cut..]]), "a [masked] and s3cretive-wor", "{cut}");
        }
        assert_eq!(masked(&["s3cretive-word"], &["s3cs3cretive-word"]), "s3c[masked]");
        assert_eq!(masked(&["aaaaaaaab"], &["aaaaaaaaaaaaab"]), "aaaaa[masked]");
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let mut mask = Mask::new([SecretString::from("s3cretive-word")]);
        assert_eq!(mask.next(b"progress 10%"), b"progress 10%");
        assert_eq!(mask.next(b" s3c"), b" ");
        assert_eq!(mask.next(b"ond"), b"s3cond");
    }
}
