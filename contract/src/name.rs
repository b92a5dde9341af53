//! Names: of repositories, artifacts, environments, hosts, jobs and executors.
//!
//! One rule a kind, checked wherever such a name enters. None of them can climb out of a folder, be mistaken for an
//! option by a program, hide a control character or differ from another only in a way that a person cannot see: all
//! are plain ASCII.

use crate::Digest;
use crate::text::{Invalid, text_type};

/// The longest artifact name, in bytes.
pub const MAX_ARTIFACT_NAME: usize = 200;

/// What, behind an artifact's name, stands for the history of that name. No name ends in it, so that nothing can be shown
/// where a history is asked for.
pub const HISTORY: &str = "/versions";

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// One path segment: starts with a letter or digit, continues with those and `extra`, does not end in a dot.
fn segment(what: &'static str, text: &str, longest: usize, extra: &[u8]) -> Result<(), Invalid> {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(Invalid::new(what, "must not be empty and must have no empty part"));
    };
    if bytes.len() > longest {
        return Err(Invalid::new(what, "is too long"));
    }
    if !is_word(*first) {
        return Err(Invalid::new(what, "must start with a letter or a digit, as must each part of it"));
    }
    if *last == b'.' {
        return Err(Invalid::new(what, "must not end in a dot, nor may a part of it"));
    }
    if !bytes.iter().all(|byte| is_word(*byte) || extra.contains(byte)) {
        return Err(Invalid::new(what, "may hold only ASCII letters, digits and a few marks such as . _ -"));
    }
    if text.contains("..") {
        return Err(Invalid::new(what, "must not hold two dots in a row"));
    }
    Ok(())
}

fn path(what: &'static str, text: &str, longest: usize, extra: &[u8]) -> Result<(), Invalid> {
    if text.len() > longest {
        return Err(Invalid::new(what, "is too long"));
    }
    if text.split('/').count() > 16 {
        return Err(Invalid::new(what, "has more than 16 parts"));
    }
    text.split('/').try_for_each(|part| segment(what, part, longest, extra))
}

fn repo(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "a repository name";
    path(WHAT, text, 120, b"._-")?;
    // `x.git` and `x` would be one repository to git's own servers, and `.lock` files belong to git.
    let reserved =
        |part: &str| part.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("git") || end.eq_ignore_ascii_case("lock"));
    if text.split('/').any(reserved) {
        return Err(Invalid::new(WHAT, "must have no part that ends in .git or .lock"));
    }
    Ok(())
}

fn artifact(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "an artifact name";
    if text.parse::<Digest>().is_ok() {
        return Err(Invalid::new(
            WHAT,
            "must not be a digest: grants speak of names, so what is deployed is what a name shows in the artifact store; a rollback \
             takes the digest of a release that the hosts keep",
        ));
    }
    path(WHAT, text, MAX_ARTIFACT_NAME, b"._-+~@=,")?;
    if text.ends_with(HISTORY) {
        return Err(Invalid::new(WHAT, "must not end in /versions: there the artifact store shows the history of the name before it"));
    }
    Ok(())
}

fn published(text: &str) -> Result<(), Invalid> {
    segment("a published name", text, 100, b"._-+~")?;
    if text.eq_ignore_ascii_case("current") {
        return Err(Invalid::new("a published name", "must not be the reserved word current"));
    }
    Ok(())
}

fn environment(text: &str) -> Result<(), Invalid> {
    segment("an environment name", text, 63, b"._-")
}

fn host(text: &str) -> Result<(), Invalid> {
    segment("a host name", text, 253, b".-")
}

fn job(text: &str) -> Result<(), Invalid> {
    segment("a job name", text, 63, b"._-")
}

fn executor(text: &str) -> Result<(), Invalid> {
    segment("an executor name", text, 63, b"._-")
}

fn mirror(text: &str) -> Result<(), Invalid> {
    segment("a mirror's name", text, 63, b"._-")
}

fn forge(text: &str) -> Result<(), Invalid> {
    segment("a forge's name", text, 63, b"._-")
}

text_type! {
    /// The name under which the server knows a repository, such as `mediawiki/core`. Tokens' grants match on it, and
    /// it is bound to the first source URL that was used under it.
    RepoName, repo, "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
}
text_type! {
    /// The name of an artifact: what a job declares, what the artifact store keeps as a blob's name, what a deployment
    /// asks for. May have parts divided by `/`, of which the last of several is not `versions`.
    ArtifactName, artifact, "^[A-Za-z0-9][A-Za-z0-9._+~@=,-]*(/[A-Za-z0-9][A-Za-z0-9._+~@=,-]*)*$"
}
text_type! {
    /// The name under which an artifact is published on a host: one path segment.
    PublishedName, published, "^[A-Za-z0-9][A-Za-z0-9._+~-]*$"
}
text_type! {
    /// The name of an environment, as the deployment worker's configuration defines it.
    EnvironmentName, environment, "^[A-Za-z0-9][A-Za-z0-9._-]*$"
}
text_type! {
    /// A host's DNS name or IPv4 address. Cannot begin with a dash, hold a user part, a port or a shell's special
    /// characters (CVE-2023-51385).
    HostName, host, "^[A-Za-z0-9][A-Za-z0-9.-]*$"
}
text_type! {
    /// The name of a job in a repository's `.signalbox.yaml`.
    JobName, job, "^[A-Za-z0-9][A-Za-z0-9._-]*$"
}
text_type! {
    /// The name of a configured executor.
    ExecutorName, executor, "^[A-Za-z0-9][A-Za-z0-9._-]*$"
}
text_type! {
    /// The name of a configured place where mirrors live: a GitLab group, a server that takes pushes.
    MirrorName, mirror, "^[A-Za-z0-9][A-Za-z0-9._-]*$"
}
text_type! {
    /// The name of a configured forge: a Gerrit, a GitLab as the place where changes come from.
    ForgeName, forge, "^[A-Za-z0-9][A-Za-z0-9._-]*$"
}

impl From<ArtifactName> for Option<PublishedName> {
    /// An artifact is published under its own name unless another is asked for; only its last part fits a host.
    fn from(name: ArtifactName) -> Self {
        name.as_str().rsplit('/').next().and_then(|last| last.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threats 34 and 46.
    #[test]
    fn names_that_would_escape_or_deceive_are_refused() {
        let hostile = [
            "",
            ".",
            "..",
            "../x",
            "x/..",
            "/etc",
            "a//b",
            "-rf",
            "a\0b",
            "a\nb",
            "%2e%2e",
            "a/./b",
            "a\\b",
            "x.",
            "a ",
            "CON:",
            "é",
            "a\u{202e}b",
            "a;b",
            "$(id)",
            "`id`",
            "a*",
            "~root",
        ];
        for name in hostile {
            assert!(name.parse::<ArtifactName>().is_err(), "artifact {name:?}");
            assert!(name.parse::<RepoName>().is_err(), "repository {name:?}");
            assert!(name.parse::<PublishedName>().is_err(), "published {name:?}");
            assert!(name.parse::<HostName>().is_err(), "host {name:?}");
        }
        assert!("current".parse::<PublishedName>().is_err());
        assert!("a/b".parse::<PublishedName>().is_err());
        assert!("x.git/hooks".parse::<RepoName>().is_err());
        assert!("a".repeat(201).parse::<ArtifactName>().is_err());
        assert!("a/versions".parse::<ArtifactName>().is_err_and(|error| error.to_string().contains("the history")));
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["hello", "mediawiki/core", "a-b_c.d"] {
            assert!(name.parse::<RepoName>().is_ok(), "{name}");
        }
        for name in ["hello", "site/hello-2.10.tar.gz", "x@1.2", "libstdc++_12", "versions", "versions/1", "a/subversions"] {
            assert!(name.parse::<ArtifactName>().is_ok(), "{name}");
        }
        assert!("hello-2.10~rc1".parse::<PublishedName>().is_ok());
        assert!("192.0.2.7".parse::<HostName>().is_ok());
    }
}
