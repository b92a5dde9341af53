//! Git's own names: refs and commits.

use crate::text::{Invalid, text_type};

/// The longest ref that is accepted, in bytes.
pub const MAX_REF: usize = 255;

/// The rules of `git check-ref-format`, plus ours: nothing that could be read as an option, nothing outside ASCII's
/// printable characters (bidirectional marks would deceive a reader), no bare `HEAD`.
fn ref_name(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "a ref";
    let rule = |rule| Err(Invalid::new(WHAT, rule));
    if text.is_empty() || text.len() > MAX_REF {
        return rule("must have between 1 and 255 characters");
    }
    if text.starts_with('-') {
        return rule("must not begin with a dash");
    }
    if text == "@" || text == "HEAD" || text.contains("@{") {
        return rule("must name a branch, a tag or a full ref, not HEAD or @");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"~^:?*[\\".contains(&byte)) {
        return rule("must not hold spaces, control characters, or any of ~ ^ : ? * [ \\");
    }
    if text.contains("..") || text.ends_with('.') {
        return rule("must not hold two dots in a row nor end in a dot");
    }
    if text.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock")) {
        return rule("must have no part that is empty, begins with a dot or ends in .lock");
    }
    if text == "refs" || text == "refs/heads" || text == "refs/tags" {
        return rule("must name something below refs/");
    }
    Ok(())
}

fn sha(text: &str) -> Result<(), Invalid> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if matches!(text.len(), 40 | 64) && text.bytes().all(hex) && text.bytes().any(|byte| byte != b'0') {
        return Ok(());
    }
    Err(Invalid::new("a commit", "is 40 or 64 lower-case hexadecimal digits"))
}

/// A path of a file in a repository.
fn repo_path(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "a path in a repository";
    if text.is_empty() || text.len() > 512 {
        return Err(Invalid::new(WHAT, "must have between 1 and 512 characters"));
    }
    if text.starts_with('-') || text.bytes().any(|byte| byte < b' ' || byte == 0x7f || byte == b'\\' || byte == b':') {
        return Err(Invalid::new(WHAT, "must not begin with a dash nor hold control characters, backslashes or colons"));
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git")) {
        return Err(Invalid::new(WHAT, "must be relative, without parts such as . or .. or .git"));
    }
    Ok(())
}

text_type! {
    /// A ref: a full one (`refs/heads/main`, `refs/changes/45/12345/2`), or the short name of a branch or a tag.
    RefName, ref_name, "^[!-~]{1,255}$"
}
text_type! {
    /// A full commit id, SHA-1 or SHA-256.
    CommitSha, sha, "^([0-9a-f]{40}|[0-9a-f]{64})$"
}
text_type! {
    /// A relative path of a file in a repository or a workspace.
    RepoPath, repo_path, "^[^\\\\:]{1,512}$"
}

impl RefName {
    /// The full refs that this name may mean, best first: itself, or the branch and then the tag of that name.
    pub fn candidates(&self) -> Vec<Self> {
        if self.0.starts_with("refs/") {
            return vec![self.clone()];
        }
        vec![Self(format!("refs/heads/{}", self.0)), Self(format!("refs/tags/{}", self.0))]
    }

    /// The branch's or tag's name as people say it, without `refs/heads/` or `refs/tags/`.
    pub fn short(&self) -> &str {
        self.0.strip_prefix("refs/heads/").or_else(|| self.0.strip_prefix("refs/tags/")).unwrap_or(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 28.
    #[test]
    fn refs_that_git_or_a_shell_could_misread_are_refused() {
        for text in [
            "",
            "-h",
            "--upload-pack=touch /tmp/x",
            "a..b",
            "a@{1}",
            "@",
            "HEAD",
            "a b",
            "a\nb",
            "a\0b",
            "a~1",
            "a^",
            "a:b",
            "x.lock",
            "refs/heads/.x",
            "a//b",
            "/a",
            "a/",
            "a.",
            "r\u{202e}x",
            "refs/heads",
        ] {
            assert!(text.parse::<RefName>().is_err(), "{text:?}");
        }
        for text in ["main", "refs/changes/45/12345/2", "feature/a-b", "v1.0", "release@2"] {
            assert!(text.parse::<RefName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_short_ref_may_be_a_branch_or_a_tag() {
        let short: RefName = "main".parse().expect("valid");
        assert_eq!(short.candidates().iter().map(RefName::as_str).collect::<Vec<_>>(), ["refs/heads/main", "refs/tags/main"]);
        let full: RefName = "refs/heads/main".parse().expect("valid");
        assert_eq!(full.candidates(), std::slice::from_ref(&full));
        assert_eq!(full.short(), "main");
    }

    #[test]
    fn the_null_commit_is_no_commit() {
        assert!("0".repeat(40).parse::<CommitSha>().is_err());
        assert!("a".repeat(40).parse::<CommitSha>().is_ok());
        assert!("A".repeat(40).parse::<CommitSha>().is_err());
    }

    #[test]
    fn a_path_stays_inside() {
        for text in ["", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/x", "-x", "c:\\x", "a\nb"] {
            assert!(text.parse::<RepoPath>().is_err(), "{text:?}");
        }
        assert!("src/hello world.c".parse::<RepoPath>().is_ok());
    }
}
