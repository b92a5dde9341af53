//! What becomes of a name: decided without any I/O.

use std::collections::HashMap;

use signalbox_contract::{ArtifactName, Digest};

/// Which of the current bytes a request is about: the value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `*`: any at all.
    Any,
    /// One of these. Tags that are none of ours match nothing, and are left out.
    Among(Vec<Digest>),
}

impl Condition {
    fn matches(&self, current: Option<&Digest>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Among(digests), Some(current)) => digests.contains(current),
        }
    }
}

/// Under which condition a request is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    pub(crate) if_match: Option<Condition>,
    pub(crate) if_none_match: Option<Condition>,
}

impl Precondition {
    /// Whether `If-Match` holds.
    pub(crate) fn matches(&self, current: Option<&Digest>) -> bool {
        self.if_match.as_ref().is_none_or(|condition| condition.matches(current))
    }

    /// Whether `If-None-Match` holds.
    pub(crate) fn differs(&self, current: Option<&Digest>) -> bool {
        !self.if_none_match.as_ref().is_some_and(|condition| condition.matches(current))
    }

    /// Whether all holds.
    pub(crate) fn holds(&self, current: Option<&Digest>) -> bool {
        self.matches(current) && self.differs(current)
    }
}

/// What a name shows, as far as a decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The version and the bytes that it shows; none when it was deleted or never was.
    pub(super) current: Option<(u64, Digest)>,
    /// How new that is.
    pub(super) line: i64,
    /// The number of the next version.
    pub(super) next: u64,
    /// All versions up to this one are dropped, except the current one.
    pub(super) drop_through: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self { current: None, line: i64::MIN, next: 1, drop_through: 0 }
    }
}

/// The heads that a transaction is about.
pub(super) type Heads = HashMap<ArtifactName, Head>;

impl Head {
    /// Somebody writes the name: what is written is shown. Answers its version.
    pub(super) fn overwrite(&mut self, digest: Digest, now: i64, keep: u64) -> u64 {
        let version = self.add(keep);
        self.current = Some((version, digest));
        // A clock that was set back must not make what was just written older than what it replaces.
        self.line = self.line.max(now);
        version
    }

    /// An attempt's bytes are published: shown if the attempt is as new as what is shown, else they become part of the
    /// history. Answers the version; none for a name that was deleted later than the attempt began.
    pub(super) fn publish(&mut self, digest: Digest, line: i64, keep: u64) -> Option<u64> {
        let newer = line >= self.line;
        if !newer && self.current.is_none() {
            return None;
        }
        let version = self.add(keep);
        if newer {
            self.current = Some((version, digest));
            self.line = line;
        }
        self.keep_current(keep);
        Some(version)
    }

    /// The name is deleted, with its history.
    pub(super) fn delete(&mut self, now: i64) {
        self.current = None;
        self.line = self.line.max(now);
        self.drop_through = self.next - 1;
    }

    fn add(&mut self, keep: u64) -> u64 {
        let version = self.next;
        self.next += 1;
        self.keep_current(keep);
        version
    }

    fn keep_current(&mut self, keep: u64) {
        self.drop_through = self.drop_through.max((self.next - 1).saturating_sub(keep.max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn an_older_attempt_never_hides_a_newer_one() {
        let mut head = Head::default();
        assert_eq!(head.publish(digest(2), 20, 5), Some(1));
        assert_eq!(head.publish(digest(1), 10, 5), Some(2), "it becomes history");
        assert_eq!(head.current, Some((1, digest(2))));
        assert_eq!(head.publish(digest(3), 20, 5), Some(3), "a later attempt of the same line");
        assert_eq!(head.current, Some((3, digest(3))));
    }

    #[test]
    fn a_name_that_was_deleted_later_stays_deleted() {
        let mut head = Head::default();
        head.overwrite(digest(1), 10, 5);
        head.delete(30);
        assert_eq!(head.publish(digest(2), 20, 5), None);
        assert_eq!(head.current, None);
        assert_eq!(head.overwrite(digest(3), 15, 5), 2, "versions go on counting; whoever writes now is shown");
        assert_eq!((head.current, head.line), (Some((2, digest(3))), 30));
    }

    #[test]
    fn old_versions_go_and_new_ones_stay() {
        let mut head = Head::default();
        for n in 1..=7 {
            head.overwrite(digest(n), i64::from(n), 3);
        }
        assert_eq!((head.next, head.drop_through), (8, 4));
    }

    #[test]
    fn conditions_are_about_what_is_shown() {
        let one = Precondition { if_match: Some(Condition::Among(vec![digest(1)])), ..Precondition::default() };
        assert!(one.holds(Some(&digest(1))) && !one.holds(Some(&digest(2))) && !one.holds(None));
        let new = Precondition { if_none_match: Some(Condition::Any), ..Precondition::default() };
        assert!(new.holds(None) && !new.holds(Some(&digest(1))));
    }
}
