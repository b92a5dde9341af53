//! What a token may do.

use serde::{Deserialize, Serialize};

use crate::text::{Invalid, text_type};
use crate::{ArtifactName, EnvironmentName, PublishedName, RepoName};

/// One thing that can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// See runs, their events and logs, the queue and environments.
    Read,
    /// Start a run (`POST /cd`). If it names an artifact, it deploys too; then `deploy` is needed as well.
    Start,
    /// Stop a run.
    Stop,
    /// Rerun a run.
    Rerun,
    /// Deploy to an environment.
    Deploy,
    /// Roll an environment back.
    Rollback,
    /// Read blobs.
    BlobRead,
    /// Write and delete blobs.
    BlobWrite,
    /// Make, list and revoke tokens that can do no more than this one.
    Tokens,
    /// See all that forges deliver, also what no repository was found for, and have it acted on again.
    Deliveries,
    /// See what is kept at mirrors, clean it, and have all that Signalbox depends on examined.
    Operate,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Start,
        Self::Stop,
        Self::Rerun,
        Self::Deploy,
        Self::Rollback,
        Self::BlobRead,
        Self::BlobWrite,
        Self::Tokens,
        Self::Deliveries,
        Self::Operate,
    ];

    /// The action's name, as it stands in a grant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Rerun => "rerun",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::BlobRead => "blob-read",
            Self::BlobWrite => "blob-write",
            Self::Tokens => "tokens",
            Self::Deliveries => "deliveries",
            Self::Operate => "operate",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn glob(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "a pattern";
    if text.is_empty() || text.len() > 200 {
        return Err(Invalid::new(WHAT, "must have between 1 and 200 characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.matches('*').count() > 8 {
        return Err(Invalid::new(WHAT, "must be plain ASCII with at most eight stars"));
    }
    Ok(())
}

text_type! {
    /// A pattern over names: `*` stands for anything within one part of a path, `**` for anything at all. A lone `*`
    /// matches every name, parts or not.
    Glob, glob, "^[!-~]{1,200}$"
}

impl Glob {
    /// Whether the pattern covers `name`. It takes a number of steps that is at most the product of the two lengths, however
    /// the stars stand.
    pub fn matches(&self, name: &str) -> bool {
        if self.as_str() == "*" {
            return true;
        }
        let name = name.as_bytes();
        // `reached[i]`: what was read of the pattern so far covers the first `i` bytes of the name.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        let mut rest = self.as_str().as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            if *first == b'*' {
                let anything = tail.first() == Some(&b'*');
                for end in 1..reached.len() {
                    reached[end] |= reached[end - 1] && (anything || name[end - 1] != b'/');
                }
                rest = if anything { &tail[1..] } else { tail };
            } else {
                for end in (1..reached.len()).rev() {
                    reached[end] = reached[end - 1] && name[end - 1] == *first;
                }
                reached[0] = false;
                rest = tail;
            }
        }
        reached[name.len()]
    }
}

/// A grant: these actions on what all of these patterns cover. An empty list of patterns covers nothing of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What may be done.
    pub actions: Vec<Action>,
    /// To which repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<Glob>,
    /// With which artifacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Glob>,
    /// In which environments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Glob>,
    /// Under which published names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Glob>,
}

/// What an action is about. What is `None` is not involved, and not asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// The repository.
    pub repo: Option<&'a RepoName>,
    /// The artifact.
    pub artifact: Option<&'a ArtifactName>,
    /// The environment.
    pub environment: Option<&'a EnvironmentName>,
    /// The published name.
    pub name: Option<&'a PublishedName>,
}

impl Grant {
    /// A grant of everything.
    pub fn everything() -> Self {
        let all = || "*".parse().map(|glob| vec![glob]).unwrap_or_default();
        Self { actions: Action::ALL.to_vec(), repos: all(), artifacts: all(), environments: all(), names: all() }
    }

    /// Whether this grant alone allows `action` on `target`.
    pub fn allows(&self, action: Action, target: &Target<'_>) -> bool {
        fn covers(globs: &[Glob], name: Option<&str>) -> bool {
            name.is_none_or(|name| globs.iter().any(|glob| glob.matches(name)))
        }
        self.actions.contains(&action)
            && covers(&self.repos, target.repo.map(AsRef::as_ref))
            && covers(&self.artifacts, target.artifact.map(AsRef::as_ref))
            && covers(&self.environments, target.environment.map(AsRef::as_ref))
            && covers(&self.names, target.name.map(AsRef::as_ref))
    }

    /// Whether everything that `other` allows is plainly allowed by this grant: each action and each pattern stands here
    /// word for word, or under a lone `*`.
    pub fn contains(&self, other: &Self) -> bool {
        fn within(mine: &[Glob], theirs: &[Glob]) -> bool {
            theirs.iter().all(|glob| mine.iter().any(|own| own == glob || own.as_str() == "*"))
        }
        other.actions.iter().all(|action| self.actions.contains(action))
            && within(&self.repos, &other.repos)
            && within(&self.artifacts, &other.artifacts)
            && within(&self.environments, &other.environments)
            && within(&self.names, &other.names)
    }
}

/// Whether one of the grants allows `action` on all of `target`. Two halves of a permission in two grants do not add up.
pub fn allows(grants: &[Grant], action: Action, target: &Target<'_>) -> bool {
    grants.iter().any(|grant| grant.allows(action, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        text.parse().expect("a valid pattern")
    }

    #[test]
    fn a_star_stays_within_a_part_and_two_do_not() {
        assert!(glob("team/*").matches("team/a"));
        assert!(!glob("team/*").matches("team/a/b"));
        assert!(glob("team/**").matches("team/a/b"));
        assert!(glob("*").matches("team/a/b"));
        assert!(glob("hello-*.tar").matches("hello-1.2.tar"));
        assert!(!glob("hello").matches("hello2"));
        assert!(glob("a**").matches("a") && glob("***").matches("a/b") && !glob("*b").matches("a/b") && glob("*/*").matches("a/b"));
    }

    #[test]
    fn a_pattern_full_of_stars_is_matched_at_once() {
        let stars = glob(&format!("{}b", "**a*a*a".repeat(2)));
        assert!(!stars.matches(&"a".repeat(200)));
    }

    #[test]
    fn two_halves_of_a_permission_do_not_add_up() {
        let repo = "team/a".parse().expect("valid");
        let environment = "production".parse().expect("valid");
        let one = Grant { actions: vec![Action::Deploy], repos: vec![glob("team/*")], ..Grant::default() };
        let other = Grant { actions: vec![Action::Deploy], environments: vec![glob("*")], ..Grant::default() };
        let target = Target { repo: Some(&repo), environment: Some(&environment), ..Target::default() };
        assert!(!allows(&[one, other], Action::Deploy, &target));
        assert!(allows(&[Grant::everything()], Action::Deploy, &target));
    }

    #[test]
    fn a_token_cannot_make_one_that_can_more() {
        let all = Grant::everything();
        let narrow = Grant { actions: vec![Action::Read], repos: vec![glob("team/*")], ..Grant::default() };
        assert!(all.contains(&narrow));
        assert!(!narrow.contains(&all));
    }
}
