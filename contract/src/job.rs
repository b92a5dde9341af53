//! Jobs, as a repository's `.signalbox.yaml` defines them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::git::RepoPath;
use crate::text::{Invalid, text_type};
use crate::{ArtifactName, JobName};

/// The file in a repository that defines its jobs.
pub const DEFINITION_FILE: &str = ".signalbox.yaml";

/// The largest definition file that is read, in bytes.
pub const MAX_DEFINITION: usize = 64 * 1024;

fn variable(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "a variable's name";
    if text.is_empty() || text.len() > 100 {
        return Err(Invalid::new(WHAT, "must have between 1 and 100 characters"));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(legal) {
        return Err(Invalid::new(WHAT, "may hold only ASCII letters, digits and _, and must not begin with a digit"));
    }
    Ok(())
}

text_type! {
    /// The name of an environment variable that POSIX shells take.
    VariableName, variable, "^[A-Za-z_][A-Za-z0-9_]*$"
}

// The rule of both lists. Inputs are chosen by whoever may start a run, who need not be the author of the script; and an executor
// such as a GitLab Runner hands them to programs of its own around the script, outside of any sandbox of ours: its shell, its
// git, its loader. So a name is kept that says who is who, or that acts on every program that begins, whether the script
// names it or not. What only one tool of a build reads when the script calls it (`CC`, `MAKEFLAGS`, `RUSTC_WRAPPER`,
// `CARGO_HOME`) acts within the script alone and is an ordinary input. A job's own `env` is as much the commit's as its script,
// is only ever set inside the sandbox, and needs no such rule.

/// What begins the names of variables that a build gets from us, from its executor, or that steer the loader, the shell, git.
const KEPT_PREFIXES: [&str; 12] =
    ["CICD_", "SIGNALBOX_", "CI_", "GITLAB_", "RUNNER_", "FF_", "DOCKER_", "LD_", "DYLD_", "GIT_", "BASH_", "SSH_"];

/// Further names that say which programs a build runs, and how: of the shell, the C library and of interpreters.
const KEPT: [&str; 33] = [
    "CI",
    "PATH",
    "HOME",
    "SHELL",
    "USER",
    "LOGNAME",
    "PWD",
    "OLDPWD",
    "TMPDIR",
    "IFS",
    "ENV",
    "CDPATH",
    "PS4",
    "PROMPT_COMMAND",
    "SHELLOPTS",
    "BASHOPTS",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYLIB",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
];

impl VariableName {
    /// Whether whoever starts a run may not give a value under this name: it belongs to Signalbox or to the executor, or
    /// steers every program that begins there, also those of the executor's own around the script, which no sandbox holds.
    /// What only a build's own tools read is not kept. Large and small letters count alike, as in variables that tools read in
    /// both.
    pub fn is_kept(&self) -> bool {
        let name = self.as_str().to_ascii_uppercase();
        KEPT.contains(&name.as_str()) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Environment variables, by name.
pub type Variables = BTreeMap<VariableName, String>;

/// Reads variables of which each has one value: which of two would count nobody could tell.
///
/// # Errors
/// As `serde` tells; `duplicate field` for a name that stands there twice.
pub fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variables, D::Error> {
    struct Distinct;

    impl<'de> Visitor<'de> for Distinct {
        type Value = Variables;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
            let mut variables = Variables::new();
            while let Some((name, value)) = map.next_entry::<VariableName, String>()? {
                if variables.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                }
                variables.insert(name, value);
            }
            Ok(variables)
        }
    }

    deserializer.deserialize_map(Distinct)
}

/// A `.signalbox.yaml`: the jobs of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// The format's version: 1.
    pub version: u32,
    /// The jobs, by name.
    pub jobs: BTreeMap<JobName, JobSpec>,
}

/// One job: a script, what it makes, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// What is run, by `/bin/sh -e`, in a fresh copy of the repository.
    pub script: String,
    /// Variables for the script.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub env: Variables,
    /// Which files are kept, by artifact name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub artifacts: BTreeMap<ArtifactName, RepoPath>,
    /// How long the script may take, such as `90s`, `15m` or `2h`. The server's own limit for the executor holds as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// A length of time in whole seconds, written with a unit: `90s`, `15m`, `2h`. From one second to seven days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9]+[smh]$", example = "15m")]
pub struct Timeout(u32);

impl Timeout {
    /// This many seconds.
    ///
    /// # Errors
    /// When it is none, or more than seven days.
    pub const fn from_secs(seconds: u32) -> Result<Self, Invalid> {
        if seconds == 0 || seconds > 7 * 24 * 3600 {
            return Err(Invalid::new("a timeout", "must be between 1s and 168h"));
        }
        Ok(Self(seconds))
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Timeout {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("a timeout", "is a whole number and a unit: 90s, 15m, 2h");
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            _ => return Err(INVALID),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(INVALID);
        }
        // A number that is too large to be counted is too long a time, and is refused as any other that is.
        let number = digits.parse().unwrap_or(u32::MAX);
        Self::from_secs(number.saturating_mul(unit))
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        format!("{}s", timeout.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_that_is_too_long_is_told_the_limits_however_long_it_is() {
        let read = |text: &str| Timeout::try_from(text.to_owned());
        for outside in ["0s", "169h", "99999999h", "99999999999999999999h"] {
            assert_eq!(read(outside).expect_err(outside).rule, "must be between 1s and 168h", "{outside}");
        }
        for unreadable in ["", "h", "5", "-1s", "+1s", "1.5h", "1 h", "5\u{e9}"] {
            assert_ne!(read(unreadable).expect_err(unreadable).rule, "must be between 1s and 168h", "{unreadable}");
        }
        assert_eq!(read("168h").map(Timeout::as_secs), Ok(7 * 24 * 3600));
    }

    #[test]
    fn a_name_is_kept_when_it_acts_outside_of_the_script_and_not_when_only_a_tool_of_the_build_reads_it() {
        let is_kept = |name: &str| name.parse::<VariableName>().expect("a name").is_kept();
        for outside in
            ["PATH", "LD_PRELOAD", "BASH_ENV", "ENV", "GIT_SSH_COMMAND", "NODE_OPTIONS", "CI_JOB_TOKEN", "CICD_GIT_COMMIT", "ld_preload"]
        {
            assert!(is_kept(outside), "{outside}");
        }
        for inside in ["CC", "CFLAGS", "MAKEFLAGS", "RUSTC_WRAPPER", "RUSTFLAGS", "CARGO_HOME", "GOFLAGS", "VERSION", "CIRCLE"] {
            assert!(!is_kept(inside), "{inside}");
        }
        // The file's own variables are part of the commit, as its script is.
        let job: JobSpec =
            serde_json::from_value(serde_json::json!({ "script": "make", "env": { "CC": "clang", "PATH": "/opt/bin" } })).expect("a job");
        assert_eq!(job.env.len(), 2);
    }
}
